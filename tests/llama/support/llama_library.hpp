#pragma once

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kvault/kvault_llama.h"
#include "tests/support/skip.hpp"

/// A real llama.cpp, loaded at run time: release v0.5.0 as the npm package
/// @node-llama-cpp/linux-x64 3.22.1 brings it. What is declared here is its public C interface
/// (include/llama.h, MIT), as far as the tests use it.
namespace kvault::test {

struct LlamaBatch {
  std::int32_t n_tokens;
  std::int32_t* token;
  float* embd;
  std::int32_t* pos;
  std::int32_t* n_seq_id;
  std::int32_t** seq_id;
  std::int8_t* logits;
};

struct LlamaModelParams {
  void* devices;
  const void* tensor_buft_overrides;
  std::int32_t n_gpu_layers;
  int split_mode;
  int load_mode;
  int lazy_mode;
  std::int32_t main_gpu;
  const float* tensor_split;
  void* progress_callback;
  void* progress_callback_user_data;
  const void* kv_overrides;
  bool vocab_only, check_tensors, use_extra_bufts, no_host, no_alloc, load_mtp;
};

struct LlamaContextParams {
  std::uint32_t n_ctx, n_batch, n_ubatch, n_seq_max, n_rs_seq, n_outputs_max, n_outputs_max_per_seq;
  std::int32_t n_threads, n_threads_batch;
  int ctx_type, rope_scaling_type, pooling_type, attention_type, flash_attn_type;
  float rope_freq_base, rope_freq_scale, yarn_ext_factor, yarn_attn_factor, yarn_beta_fast,
      yarn_beta_slow;
  std::uint32_t yarn_orig_ctx;
  float defrag_thold;
  void* cb_eval;
  void* cb_eval_user_data;
  int type_k, type_v;
  void* abort_callback;
  void* abort_callback_data;
  bool embeddings, offload_kqv, no_perf, op_offload, swa_full, kv_unified;
  void* samplers;
  std::size_t n_samplers;
  llama_context* ctx_other;
};

/// The functions by their names without "llama_".
class Llama {
 public:
  /// Null where the library is not there; the reason has been printed then.
  static const Llama* get() {
    static const std::unique_ptr<Llama> library = open();
    return library.get();
  }

  LlamaModelParams (*model_default_params)();
  LlamaContextParams (*context_default_params)();
  void* (*model_load_from_file)(const char*, LlamaModelParams);
  void (*model_free)(void*);
  llama_context* (*init_from_model)(void*, LlamaContextParams);
  void (*free)(llama_context*);
  LlamaBatch (*batch_get_one)(std::int32_t*, std::int32_t);
  std::int32_t (*decode)(llama_context*, LlamaBatch);
  float* (*get_logits_ith)(llama_context*, std::int32_t);
  const void* (*model_get_vocab)(const void*);
  std::int32_t (*vocab_n_tokens)(const void*);
  void (*memory_seq_add)(llama_memory_i*, std::int32_t, std::int32_t, std::int32_t, std::int32_t);
  std::size_t (*state_seq_save_file)(llama_context*, const char*, std::int32_t, const std::int32_t*,
                                     std::size_t);
  std::size_t (*state_seq_load_file)(llama_context*, const char*, std::int32_t, std::int32_t*,
                                     std::size_t, std::size_t*);
  kvault_llama_functions functions{};

 private:
  static std::unique_ptr<Llama> open() {
    const char* const given = std::getenv("KVAULT_TEST_LLAMA");
    const std::filesystem::path directory = given != nullptr ? given : KVAULT_TEST_LLAMA_DIR;
    void* handle = nullptr;
    for (const char* name : {"libggml-base.so", "libggml.v0.5.0.so", "libllama.v0.5.0.so"}) {
      handle = ::dlopen((directory / name).c_str(), RTLD_NOW | RTLD_GLOBAL);
      if (handle == nullptr) {
        note_skip("no prebuilt llama.cpp (npm package @node-llama-cpp/linux-x64 is not installed)");
        return nullptr;
      }
    }
    auto library = std::make_unique<Llama>();
    const auto find = [handle](const char* name, auto& function) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, name));
      const bool is_there = function != nullptr;
      REQUIRE_MESSAGE(is_there, name);
    };
    find("llama_model_default_params", library->model_default_params);
    find("llama_context_default_params", library->context_default_params);
    find("llama_model_load_from_file", library->model_load_from_file);
    find("llama_model_free", library->model_free);
    find("llama_init_from_model", library->init_from_model);
    find("llama_free", library->free);
    find("llama_batch_get_one", library->batch_get_one);
    find("llama_decode", library->decode);
    find("llama_get_logits_ith", library->get_logits_ith);
    find("llama_model_get_vocab", library->model_get_vocab);
    find("llama_vocab_n_tokens", library->vocab_n_tokens);
    find("llama_memory_seq_add", library->memory_seq_add);
    find("llama_state_seq_save_file", library->state_seq_save_file);
    find("llama_state_seq_load_file", library->state_seq_load_file);
    kvault_error error{};
    REQUIRE_MESSAGE(kvault_llama_find_functions(handle, &library->functions, &error) == KVAULT_OK,
                    error.message);

    void (*log_set)(void (*)(int, const char*, void*), void*) = nullptr;
    find("llama_log_set", log_set);
    log_set(
        [](int, const char* text, void*) {
          if (std::getenv("KVAULT_TEST_LLAMA_LOG") != nullptr) std::fputs(text, stderr);
        },
        nullptr);
    void (*load_backends)(const char*) = nullptr;
    find("ggml_backend_load_all_from_path", load_backends);
    load_backends(directory.c_str());
    void (*backend_init)() = nullptr;
    find("llama_backend_init", backend_init);
    backend_init();
    return library;
  }
};

/// A model that llama.cpp has loaded.
class LlamaModel {
 public:
  LlamaModel(const Llama& llama, const std::filesystem::path& path)
      : llama_(llama),
        path_(path),
        model_(llama.model_load_from_file(path.c_str(), llama.model_default_params())) {
    REQUIRE_MESSAGE(model_ != nullptr, path.native());
  }
  LlamaModel(const LlamaModel&) = delete;
  LlamaModel& operator=(const LlamaModel&) = delete;
  ~LlamaModel() { llama_.model_free(model_); }

  const Llama& llama() const { return llama_; }
  void* handle() const { return model_; }
  const std::filesystem::path& path() const { return path_; }
  std::int32_t n_vocab() const { return llama_.vocab_n_tokens(llama_.model_get_vocab(model_)); }

 private:
  const Llama& llama_;
  std::filesystem::path path_;
  void* model_;
};

/// How a context is made; the defaults are llama.cpp's but for the number of threads.
struct ContextOptions {
  std::uint32_t n_ctx = 1024;
  std::uint32_t n_seq_max = 2;
  bool kv_unified = true;
  bool flash_attention = true;
  int type_k = 1;
  int type_v = 1;
};

/// A context, and the ids of the tokens that its sequence 0 holds.
class LlamaContext {
 public:
  LlamaContext(const LlamaModel& model, const ContextOptions& options)
      : llama_(model.llama()), options_(options), n_vocab_(model.n_vocab()) {
    LlamaContextParams params = llama_.context_default_params();
    REQUIRE(params.n_batch == 2048);  // else this is another version's struct
    params.n_ctx = options.n_ctx;
    params.n_batch = params.n_ubatch = 512;
    params.n_seq_max = options.n_seq_max;
    params.n_threads = params.n_threads_batch = 1;  // several wait for each other by spinning
    params.flash_attn_type = options.flash_attention ? 1 : 0;
    params.type_k = options.type_k;
    params.type_v = options.type_v;
    params.kv_unified = options.kv_unified;
    context_ = llama_.init_from_model(model.handle(), params);
    REQUIRE(context_ != nullptr);
  }
  LlamaContext(const LlamaContext&) = delete;
  LlamaContext& operator=(const LlamaContext&) = delete;
  ~LlamaContext() { llama_.free(context_); }

  llama_context* handle() const { return context_; }
  llama_memory_i* memory() const { return llama_.functions.get_memory(context_); }

  /// Decodes in batches of at most 512; the logits of the last token.
  std::vector<float> decode(std::vector<std::int32_t> tokens) {
    for (std::size_t first = 0; first < tokens.size(); first += 512) {
      const auto n = static_cast<std::int32_t>(std::min<std::size_t>(512, tokens.size() - first));
      REQUIRE(llama_.decode(context_, llama_.batch_get_one(tokens.data() + first, n)) == 0);
    }
    const float* const logits = llama_.get_logits_ith(context_, -1);
    REQUIRE(logits != nullptr);
    return {logits, logits + n_vocab_};
  }
  void remove_last() {
    const std::int32_t last = llama_.functions.memory_seq_pos_max(memory(), 0);
    REQUIRE(llama_.functions.memory_seq_rm(memory(), 0, last, -1));
  }
  std::vector<std::byte> state(std::int32_t seq_id = 0) const {
    std::vector<std::byte> bytes(llama_.functions.state_seq_get_size(context_, seq_id));
    REQUIRE(llama_.functions.state_seq_get_data(context_,
                                                reinterpret_cast<std::uint8_t*>(bytes.data()),
                                                bytes.size(), seq_id) == bytes.size());
    return bytes;
  }

  kvault_llama_sequence sequence(std::int32_t scratch = -1) const {
    kvault_llama_sequence sequence = KVAULT_LLAMA_SEQUENCE_INIT;
    sequence.context = context_;
    sequence.scratch_seq_id = scratch;
    sequence.type_k = options_.type_k;
    sequence.type_v = options_.type_v;
    sequence.flash_attention = options_.flash_attention ? 1 : 0;
    return sequence;
  }

 private:
  const Llama& llama_;
  ContextOptions options_;
  std::int32_t n_vocab_;
  llama_context* context_ = nullptr;
};

}  // namespace kvault::test
