#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kvault/kvault.hpp"
#include "tests/support/skip.hpp"
#include "tools/model/attention_port.hpp"
#include "tools/model/fineweb.hpp"
#include "tools/model/matmul.hpp"
#include "tools/model/scores.hpp"

namespace kvault::tools {
namespace {

using Json = nlohmann::json;

const std::filesystem::path kModel =
    std::filesystem::path(KVAULT_TEST_SHARED_DIR) / "data/models/fineweb-hd64";

bool has_model() { return std::filesystem::exists(kModel / "model.safetensors"); }

struct Answer {
  int status = -1;
  Json json;
};

/// Runs `kvault <arguments>` and reads the JSON it prints.
Answer run_kvault(const std::string& arguments) {
  const std::string command =
      "KVAULTD='" KVAULT_TEST_KVAULTD "' '" KVAULT_TEST_KVAULT "' " + arguments;
  std::FILE* stream = ::popen(command.c_str(), "r");
  REQUIRE(stream != nullptr);
  std::string text;
  std::array<char, 4096> part;
  while (const std::size_t n = std::fread(part.data(), 1, part.size(), stream)) {
    text.append(part.data(), n);
  }
  Answer answer;
  answer.status = ::pclose(stream);
  answer.json = Json::parse(text, nullptr, false);
  INFO(command << " said: " << text);
  REQUIRE(answer.json.is_structured());
  return answer;
}

void check_demo(const Answer& answer, std::uint64_t n_token) {
  const Json& json = answer.json;
  INFO(json.dump(2));
  CHECK(answer.status == 0);
  CHECK(json["ok"] == true);
  CHECK(json["identical"] == true);
  CHECK(json["negative_control_caught"] == true);
  CHECK(json["n_token"] == n_token);
  CHECK(json["n_reply"] > 8);
  CHECK(json["attention_error"] < 2e-3);
  CHECK(json["attention_error"] > 0);
  CHECK(json["resumed_at_token"] > 0);
  CHECK(json["resumed_at_token"] < n_token);
  CHECK(json["killed_at_token"] > n_token / 2);
  CHECK(json["stored_bytes"] <= json["pack_bytes"]);
  CHECK(json["stored_bytes"] > 0);
}

TEST_CASE("short: demo at 2048 tokens is identical") {
  const Answer answer = run_kvault("demo --n-token 2048 --json");
  check_demo(answer, 2048);
  CHECK(answer.json["recall_raw"] == 1.0);
  CHECK(answer.json["recall"] == 1.0);
  CHECK(answer.json["kl_mean"] < 0.1);
}

TEST_CASE("demo on every other device is identical") {
  std::size_t n_device = 0;
  for (const Json& device : run_kvault("devices --json").json) {
    if (device["device"] == "cpu" || device["is_present"] == false) continue;
    ++n_device;
    const std::string name = device["device"];
    CAPTURE(name);
    check_demo(run_kvault("demo --n-token 1024 --json --device " + name), 1024);
  }
  if (n_device == 0) KVAULT_TEST_SKIP("no device but the cpu");
}

TEST_CASE("demo: every preset comes back identical") {
  for (const std::string preset : {"raw", "k8v8", "k4v3", "k3v3", "k2v2"}) {
    CAPTURE(preset);
    check_demo(run_kvault("demo --n-token 2048 --json --preset " + preset), 2048);
  }
}

TEST_CASE("demo: a preset that does not exist is refused") {
  const std::string command = "'" KVAULT_TEST_KVAULT "' demo --preset k5v5 2>&1";
  std::FILE* stream = ::popen(command.c_str(), "r");
  REQUIRE(stream != nullptr);
  std::array<char, 512> line{};
  REQUIRE(std::fgets(line.data(), line.size(), stream) != nullptr);
  CHECK(std::string(line.data()).find("k5v5") != std::string::npos);
  CHECK(::pclose(stream) != 0);
}

TEST_CASE("run: recall is exact at raw and kept at k4v4 and k2v2, whose KL tells them apart") {
  const Json fine = run_kvault("run --preset k4v4 --json").json;
  CHECK(fine["recall_raw"] == 1.0);
  CHECK(fine["recall"] >= 0.995);
  CHECK(fine["kl_mean"] > 0);
  CHECK(fine["kl_mean"] < 0.05);
  const Json coarse = run_kvault("run --preset k2v2 --json").json;
  CHECK(coarse["recall_raw"] == 1.0);
  CHECK(coarse["recall"] >= 0.985);
  CHECK(coarse["kl_mean"] > 10 * fine["kl_mean"].get<double>());
}

/// The model's logits of `tokens`, at once, over raw pages of f32 rows.
std::vector<float> raw_logits(const FinewebModel& model, std::span<const std::uint32_t> tokens) {
  auto cache = sdk::Cache::create({.layers = model.layers(), .row_type = KVAULT_F32});
  REQUIRE(cache.is_ok());
  CacheAttention attention(cache.value().view());
  std::vector<float> logits(tokens.size() * model.n_vocab());
  REQUIRE(model.forward(tokens, attention, static_cast<std::uint32_t>(tokens.size()), logits));
  return logits;
}

TEST_CASE("real model: the first steps' logits are those of its README") {
  if (!has_model()) KVAULT_TEST_SKIP("no model at " + kModel.native());
  const auto model = FinewebModel::open(kModel);
  REQUIRE(model);
  const std::vector<std::uint32_t> tokens = {960, 337, 358, 955, 929, 284, 260, 451};
  const std::vector<float> logits = raw_logits(**model, tokens);
  constexpr std::array kFirst = {-15.1047333, 23.8431419, -14.4051305, -14.2739575};
  constexpr std::array kLast = {-10.8780061, 14.0848022, -10.4592729, -11.3763294};
  constexpr std::array kBest = {352, 803, 295, 334, 560, 962, 784, 940};
  constexpr std::size_t kVocab = FinewebModel::kVocab;
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(std::abs(logits[i] - kFirst[i]) < 1e-3);
    CHECK(std::abs(logits[7 * kVocab + i] - kLast[i]) < 1e-3);
  }
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const auto row = logits.begin() + static_cast<std::ptrdiff_t>(t * kVocab);
    CHECK(std::max_element(row, row + kVocab) - row == kBest[t]);
  }
}

TEST_CASE("real model: nll per token over raw pages is that of its README") {
  if (!has_model()) KVAULT_TEST_SKIP("no model at " + kModel.native());
  for (const std::string row_type : {"f16", "f32"}) {
    const Json json = run_kvault("run --json --preset raw --row-type " + row_type + " --model '" +
                                 kModel.native() + "'")
                          .json;
    CAPTURE(row_type);
    CHECK(std::abs(json["nll"].get<double>() - 3.0644) < 1e-3);
    CHECK(json["n_token"] == 6144);
    CHECK(json["kl_mean"] == 0.0);
  }
}

TEST_CASE("real model: a killed chat comes back identical") {
  if (!has_model()) KVAULT_TEST_SKIP("no model at " + kModel.native());
  check_demo(run_kvault("demo --json --model '" + kModel.native() + "'"), 2048);
}

}  // namespace
}  // namespace kvault::tools
