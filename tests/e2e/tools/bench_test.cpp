#include <doctest/doctest.h>

#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "tests/e2e/tools/cli_case.hpp"

// kvault-bench as a program: its rows have every key, and it refuses in one line what it cannot do.

namespace kvault::test::cli {
namespace {

using Json = nlohmann::json;

RunResult run_bench(const Folder& folder, const std::string& words) {
  const std::string command = std::string("'") + KVAULT_TEST_BENCH + "' " + words + " >'" +
                              folder / "out.txt" + "' 2>'" + folder / "err.txt" + "'";
  const int status = std::system(command.c_str());
  const auto text = [&](const char* name) {
    const std::vector<char> bytes = read_bytes(folder / name);
    return std::string(bytes.begin(), bytes.end());
  };
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text("out.txt"), text("err.txt")};
}

void check_bench_refused(const Folder& folder, const std::string& words,
                         const std::vector<std::string>& parts) {
  const RunResult result = run_bench(folder, words);
  INFO(words << ": " << result.err);
  CHECK(result.exit_code == 2);
  CHECK(result.out.empty());
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  CHECK(result.err.starts_with("kvault-bench: "));
  for (const std::string& part : parts) {
    INFO("wanted: " << part);
    CHECK(result.err.find(part) != std::string::npos);
  }
}

void check_row(const Json& row) {
  INFO(row.dump());
  for (const char* key : {"op", "device", "preset", "instruction_set"}) {
    REQUIRE(row.contains(key));
    CHECK(row[key].is_string());
  }
  for (const char* key : {"head_dim", "n_head", "n_kv_head", "n_token", "n_q", "n_threads",
                          "set_bytes", "page_size", "n_repetitions"}) {
    REQUIRE(row.contains(key));
    CHECK(row[key].is_number_unsigned());
  }
  for (const char* key : {"time_us", "time_min_us", "stored_gb_per_s", "read_bandwidth_gb_per_s",
                          "fraction_of_bandwidth"}) {
    REQUIRE(row.contains(key));
    REQUIRE(row[key].is_number());
    CHECK(row[key].get<double>() > 0);
  }
  CHECK(row["time_min_us"].get<double>() <= row["time_us"].get<double>());
  CHECK(row["set_bytes"].get<std::uint64_t>() >= 1U << 20U);
  for (const char* key : {"port_limit_gb_per_s", "fraction_of_port_limit", "speedup_over_f16"}) {
    REQUIRE(row.contains(key));
    CHECK((row[key].is_null() || row[key].get<double>() > 0));
  }
  const std::string op = row["op"];
  CHECK(row.contains("input_gb_per_s") == (op == "encode"));
  CHECK(row.contains("output_gb_per_s") == (op == "reconstruct"));
  CHECK(row["speedup_over_f16"].is_null() == (op == "encode"));
  if (row["preset"] == "raw") {
    CHECK(row["speedup_over_f16"] == 1.0);
    CHECK(row["port_limit_gb_per_s"].is_null());
  }
}

constexpr const char* kSmall =
    "--n-token 256,512 --n-head 4 --n-kv-head 2 --head-dim 64 --n-q 16 --set-bytes 1MiB "
    "--repetitions 2 ";

}  // namespace

TEST_CASE("short: bench: every row of every op has every key") {
  const Folder folder;
  const RunResult result =
      run_bench(folder, kSmall + ("--op all --preset k4v4,k2v2 --n-threads 1,2 --json --svg '" +
                                  folder / "plot.svg" + "'"));
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  const Json rows = Json::parse(result.out, nullptr, false);
  REQUIRE(rows.is_array());
  // Three presets in three ops, two in encode; two lengths and two thread counts of each.
  CHECK(rows.size() == (3 * 3 + 2) * 2 * 2);
  std::set<std::string> variants;
  for (const Json& row : rows) {
    check_row(row);
    variants.insert(row["op"].dump() + row["preset"].dump() + row["n_token"].dump() +
                    row["n_threads"].dump());
  }
  CHECK(variants.size() == rows.size());
  const std::vector<char> svg = read_bytes(folder / "plot.svg");
  CHECK(std::string(svg.begin(), svg.end()).starts_with("<svg"));
}

TEST_CASE("short: bench: chats that share a call, and bytes that go to the device") {
  const Folder folder;
  const RunResult result = run_bench(
      folder, kSmall + std::string("--op decode,upload --preset k4v4 --n-sequence 3 --json"));
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  const Json rows = Json::parse(result.out, nullptr, false);
  REQUIRE(rows.is_array());
  CHECK(rows.size() == 2 * 2 * 2);  // two presets, lengths and ops
  for (const Json& row : rows) {
    check_row(row);
    CHECK(row["n_sequences"] == (row["op"] == "decode" ? 3 : 1));
    // 512 or 256 tokens of 2 heads, K and V of 64 halves each.
    if (row["op"] != "upload" || row["preset"] != "raw") continue;
    const double layer_bytes = row["n_token"].get<double>() * 2 * 2 * 64 * 2;
    const double rate = layer_bytes / row["time_us"].get<double>() / 1e3;
    CHECK(row["stored_gb_per_s"].get<double>() == doctest::Approx(rate));
  }
}

TEST_CASE("short: bench: files of rows are written and compared") {
  const Folder folder;
  const std::string path = folder / "rows.json";
  const RunResult run = run_bench(folder, kSmall + ("--json '" + path + "'"));
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  CHECK(run.out.find("k4v4") != std::string::npos);  // people see the table all the same
  const RunResult compared = run_bench(folder, "--compare '" + path + "' '" + path + "'");
  CHECK(compared.exit_code == 0);
  CHECK(compared.out.find("1.000") != std::string::npos);
  CHECK(compared.out.find("4 in both, 0 only before, 0 only after") != std::string::npos);
}

TEST_CASE("short: bench: a prefill of several sizes") {
  const Folder folder;
  const RunResult result =
      run_bench(folder, kSmall + std::string("--op decode,prefill --n-q 32,64 --json"));
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  std::multiset<int> n_qs;
  for (const Json& row : Json::parse(result.out, nullptr, false))
    n_qs.insert(row["n_q"].get<int>());
  CHECK(n_qs == std::multiset<int>{1, 1, 1, 1, 16, 16, 16, 16, 32, 32, 32, 32, 64, 64, 64, 64});
}

TEST_CASE("short: bench: a report has every row of its plan, measured or named") {
  const Folder folder;
  const RunResult result = run_bench(
      folder, "--report '" + folder / "page.md" + "' --quick --time-limit 3 --note 'Two | words'");
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(result.out.find("page.md") != std::string::npos);
  const std::vector<char> json = read_bytes(folder / "page/figures.json");
  const Json figures = Json::parse(json.begin(), json.end(), nullptr, false);
  REQUIRE(figures.is_object());
  // Presets of lengths, heads and queries; encode, reconstruct, sparse values.
  CHECK(figures["rows"].size() + figures["left_out"].size() == 5 * (3 + 9 + 5) + 4 + 5 + 4);
  CHECK(figures["n_group"] == figures["n_group_done"]);
  CHECK(figures["backend"] == "cpu");
  for (const Json& row : figures["rows"]) CHECK(row["time_us"].get<double>() > 0);
  for (const Json& row : figures["left_out"]) CHECK(!row["why"].get<std::string>().empty());
  const std::vector<char> bytes = read_bytes(folder / "page.md");
  const std::string page(bytes.begin(), bytes.end());
  for (const char* part : {"# ", "Two \\| words", "--quick --time-limit 3", "| tokens | f16 |",
                           "page/decode.svg", "page/figures.json"}) {
    INFO("wanted: " << part);
    CHECK(page.find(part) != std::string::npos);
  }
  CHECK(page.find("nan") == std::string::npos);
}

TEST_CASE("short: bench: what it cannot do is refused in one line with the numbers") {
  const Folder folder;
  check_bench_refused(folder, "--head-dim 100", {"--head-dim 100", "96, 112"});
  check_bench_refused(folder, "--n-head 30", {"30", "8"});
  check_bench_refused(folder, "--n-token -1", {"--n-token", "-1"});
  check_bench_refused(folder, "--op attend", {"attend"});
  check_bench_refused(folder, "--op prefill --n-token 64", {"128", "64"});
  check_bench_refused(folder, "--preset k9v9", {"k9v9", "k4v4"});
  check_bench_refused(folder, "--device abacus", {"abacus", "cpu"});
  check_bench_refused(folder, "--device cpu:", {"cpu:", "colon"});
  check_bench_refused(folder, "--device abacus --report '" + folder / "r" + "'", {"abacus", "cpu"});
  check_bench_refused(folder, "--report '" + folder / "r" + "' --op encode", {"--report", "--op"});
  check_bench_refused(folder, "--report '" + folder / "r" + "' --n-threads 1,2", {"--report"});
  check_bench_refused(folder, "--report /dev/null/r", {"/dev/null/r"});
  check_bench_refused(folder, "--quick", {"--quick", "--report"});
  check_bench_refused(folder, "--instruction-set mmx", {"mmx"});
  check_bench_refused(folder, "--n-threads 1000", {"1000", "256"});
  check_bench_refused(folder, "--min-time soon", {"soon"});
  check_bench_refused(folder, "--no-such-option", {"--no-such-option"});
  check_bench_refused(folder, "--json no/such/folder.json", {"no/such/folder.json"});
  check_bench_refused(folder, "--compare one.json", {"--compare"});
  check_bench_refused(folder, "--compare one.json two.json", {"one.json"});
  check_bench_refused(folder, "--peer torch=there", {"torch=there"});
  check_bench_refused(folder, "--peer ggml=no/such/folder", {"no/such/folder"});
  check_bench_refused(folder, "--peer 'ggml=" + folder / "" + "'", {"libggml"});
}

TEST_CASE("short: bench: help shows examples") {
  const Folder folder;
  const RunResult help = run_bench(folder, "--help");
  CHECK(help.exit_code == 0);
  CHECK(help.out.find("Examples:") != std::string::npos);
  CHECK(help.out.find("--peer ggml=DIR") != std::string::npos);
  CHECK(help.out.find("--report docs/benchmarks") != std::string::npos);
  const RunResult version = run_bench(folder, "--version");
  CHECK(version.exit_code == 0);
  CHECK(version.out.starts_with("kvault-bench 0."));
}

TEST_CASE("bench: --daemon measures a kvaultd of its own and leaves nothing behind") {
  const Folder folder;
  const RunResult result =
      run_bench(folder, "--daemon --few --session-tokens 512 --json --kvaultd '" +
                            std::string(KVAULT_TEST_KVAULTD) + "' --folder '" + folder / "" + "'");
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  const Json figures = Json::parse(result.out, nullptr, false);
  REQUIRE(figures.is_array());
  std::set<std::string> keys;
  for (const Json& figure : figures) {
    INFO(figure.dump());
    keys.insert(figure.at("key").get<std::string>());
    CHECK(figure.at("min").get<double>() <= figure.at("value").get<double>());
    CHECK(figure.at("max").get<double>() >= figure.at("value").get<double>());
    CHECK(figure.at("min").get<double>() > 0);
    CHECK(figure.at("n_sample").get<int>() > 0);
    CHECK(figure.contains("is_met") == (figure.contains("at_most") || figure.contains("at_least")));
  }
  for (const char* key : {"attach_ms", "warm_first_layer_ms", "warm_restore_%", "cold_restore_%",
                          "ping_us", "load_ping_p50_us", "load_ping_p99_us", "save_x"}) {
    INFO(key);
    CHECK(keys.contains(key));
  }
  check_bench_refused(folder, "--daemon --session-tokens 5", {"--session-tokens 5"});
  check_bench_refused(folder, "--daemon --folder /nowhere", {"/nowhere"});
}

}  // namespace kvault::test::cli
