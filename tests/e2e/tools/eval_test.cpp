#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "tests/e2e/tools/cli_case.hpp"
#include "tests/support/skip.hpp"

namespace kvault::test::cli {
namespace {

const std::filesystem::path kModel =
    std::filesystem::path(KVAULT_TEST_SHARED_DIR) / "data/models/fineweb-hd64";

TEST_CASE("kvault eval: prints the nine keys, and the same numbers every time") {
  if (!std::filesystem::exists(kModel / "model.safetensors")) {
    KVAULT_TEST_SKIP("no model at " + kModel.native());
  }
  const Folder folder;
  const std::string words =
      "eval --json --n-token 256 --recall 0 --codec-only --preset k4v4 "
      "--model '" +
      kModel.native() + "'";
  const RunResult first = run_kvault(folder, words);
  REQUIRE(first.exit_code == 0);
  const auto json = nlohmann::json::parse(first.out);
  std::set<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.insert(key);
  CHECK(keys == std::set<std::string>{"preset", "n_token", "nll", "kl_mean", "kl_p99", "kl_p999",
                                      "top1_agreement", "bits_per_element",
                                      "bits_per_element_32k"});
  CHECK(json["preset"] == "k4v4");
  CHECK(json["n_token"] == 256);
  CHECK(json["kl_mean"] > 0);
  CHECK(json["kl_mean"] < 0.05);
  CHECK(json["kl_p999"] >= json["kl_p99"]);
  CHECK(run_kvault(folder, words).out == first.out);
}

TEST_CASE("kvault eval: a preset, a level or a length that does not exist is refused") {
  const Folder folder;
  for (const std::string words : {"eval --model nowhere --preset k4v4", "eval --preset k4v4",
                                  "eval --model nowhere --n-token 7", "eval --render nowhere",
                                  "eval --model nowhere --stress x"}) {
    CAPTURE(words);
    const RunResult result = run_kvault(folder, words);
    CHECK(result.exit_code == 2);
    CHECK(!result.err.empty());
  }
}

}  // namespace
}  // namespace kvault::test::cli
