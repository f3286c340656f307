#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include <memory>
#include <string>
#include <vector>

#include "kvault/kvault.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/llama/support/llama_library.hpp"

namespace kvault::test {

/// A daemon of our own and one connection to it.
class Vault {
 public:
  Vault() : daemon_(directory_.path()) { connect(); }

  kvault_client* client() const { return client_->handle(); }
  sdk::Client& connection() { return *client_; }
  const std::filesystem::path& path() const { return directory_.path(); }
  void connect() {
    static_cast<void>(daemon_.connect());  // waits until it answers
    auto client = sdk::Client::connect({.auto_start = false, .socket_path = daemon_.socket_path()});
    REQUIRE(client.is_ok());
    client_.emplace(std::move(client).value());
  }
  Daemon& daemon() { return daemon_; }

 private:
  TemporaryDirectory directory_;
  Daemon daemon_;
  std::optional<sdk::Client> client_;
};

/// A kvault_llama_model of a file.
class ModelFile {
 public:
  explicit ModelFile(const std::filesystem::path& path) {
    kvault_llama_model_options options = KVAULT_LLAMA_MODEL_OPTIONS_INIT;
    const std::string text = path.native();
    options.path = text.c_str();
    open(options);
  }
  explicit ModelFile(const kvault_llama_model_options& options) { open(options); }
  const kvault_llama_model* handle() const { return model_.get(); }

 private:
  struct Close {
    void operator()(kvault_llama_model* model) const { kvault_llama_model_close(model); }
  };
  void open(const kvault_llama_model_options& options) {
    kvault_llama_model* model = nullptr;
    kvault_error error{};
    REQUIRE_MESSAGE(kvault_llama_model_open(&options, &model, &error) == KVAULT_OK, error.message);
    model_.reset(model);
  }
  std::unique_ptr<kvault_llama_model, Close> model_;
};

/// An open chat; calls that should work do, or the test fails.
class KeptChat {
 public:
  KeptChat(Vault& vault, const ModelFile& model, const Llama& llama, const std::string& name,
           const char* preset = "raw", kvault_progress progress = nullptr,
           void* progress_user = nullptr) {
    kvault_llama_chat_options options = KVAULT_LLAMA_CHAT_OPTIONS_INIT;
    options.client = vault.client();
    options.model = model.handle();
    options.name = name.c_str();
    options.create = 1;
    options.preset = preset;
    options.functions = &llama.functions;
    options.progress = progress;
    options.progress_user = progress_user;
    kvault_llama_chat* chat = nullptr;
    kvault_error error{};
    REQUIRE_MESSAGE(kvault_llama_chat_open(&options, &chat, &error) == KVAULT_OK, error.message);
    chat_.reset(chat);
  }
  kvault_llama_chat* handle() const { return chat_.get(); }
  std::string name() const { return kvault_llama_chat_name(handle()); }

  kvault_llama_save_info save(const kvault_llama_sequence& sequence,
                              const std::vector<std::int32_t>& tokens) {
    kvault_llama_save_info info = KVAULT_LLAMA_SAVE_INFO_INIT;
    kvault_error error{};
    REQUIRE_MESSAGE(kvault_llama_save(handle(), &sequence, tokens.data(), tokens.size(), &info,
                                      &error) == KVAULT_OK,
                    error.message);
    return info;
  }
  kvault_llama_resume_info resume(const kvault_llama_sequence& sequence,
                                  const std::vector<std::int32_t>& tokens) {
    kvault_llama_resume_info info = KVAULT_LLAMA_RESUME_INFO_INIT;
    kvault_error error{};
    REQUIRE_MESSAGE(
        kvault_llama_resume(handle(), &sequence, tokens.empty() ? nullptr : tokens.data(),
                            tokens.size(), &info, &error) == KVAULT_OK,
        error.message);
    return info;
  }
  std::vector<std::int32_t> tokens() {
    const std::int32_t* ids = nullptr;
    std::uint64_t n = 0;
    kvault_error error{};
    REQUIRE_MESSAGE(kvault_llama_chat_tokens(handle(), &ids, &n, &error) == KVAULT_OK,
                    error.message);
    return {ids, ids + n};
  }

 private:
  struct Close {
    void operator()(kvault_llama_chat* chat) const { kvault_llama_chat_close(chat); }
  };
  std::unique_ptr<kvault_llama_chat, Close> chat_;
};

inline float max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  float largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

/// KL(p || q) of the softmaxes of two rows of logits, in nats.
inline double kl_divergence(const std::vector<float>& p, const std::vector<float>& q) {
  const auto log_sum = [](const std::vector<float>& x) {
    const double largest = static_cast<double>(*std::max_element(x.begin(), x.end()));
    double sum = 0;
    for (const float value : x) sum += std::exp(static_cast<double>(value) - largest);
    return largest + std::log(sum);
  };
  const double p_sum = log_sum(p);
  const double q_sum = log_sum(q);
  double kl = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double log_p = static_cast<double>(p[i]) - p_sum;
    kl += std::exp(log_p) * (log_p - (static_cast<double>(q[i]) - q_sum));
  }
  return kl;
}

}  // namespace kvault::test
