#include "tools/bench/bench_row.hpp"

#include <doctest/doctest.h>

#include <fstream>

#include "tests/support/temporary_directory.hpp"
#include "tools/bench/bench_table.hpp"
#include "tools/bench/compare_rows.hpp"

namespace kvault::tools {
namespace {

BenchRow make_row(const std::string& preset, std::uint64_t n_token, double time_us) {
  BenchRow row;
  row.op = "decode";
  row.device = "cpu";
  row.preset = preset;
  row.instruction_set = "avx2";
  row.head_dim = 128;
  row.n_head = 32;
  row.n_kv_head = 8;
  row.n_token = n_token;
  row.n_q = 1;
  row.n_thread = 2;
  row.time_us = time_us;
  row.port_limit_gb_per_s = 30.5;
  return row;
}

TEST_CASE("bench rows: a file gives back what was written") {
  const test::TemporaryDirectory folder;
  const auto path = folder.path() / "rows.json";
  BenchRow first = make_row("k4v4", 16384, 1500.25);
  first.input_gb_per_s = 1.5;
  BenchRow second = make_row("ggml:q4_0", 1024, 7);
  second.layout = "cache";
  second.port_limit_gb_per_s.reset();
  second.adapter = "Model T";
  second.read_bandwidth_gb_per_s = 12.5;
  REQUIRE(write_rows(path, {first, second}));
  const auto rows = read_rows(path);
  REQUIRE(rows);
  REQUIRE(rows->size() == 2);
  CHECK((*rows)[0].preset == "k4v4");
  CHECK((*rows)[0].n_token == 16384);
  CHECK((*rows)[0].time_us == 1500.25);
  CHECK((*rows)[0].n_thread == 2);
  CHECK(*(*rows)[0].port_limit_gb_per_s == 30.5);
  CHECK(*(*rows)[0].input_gb_per_s == 1.5);
  CHECK_FALSE((*rows)[0].speedup_over_f16);
  CHECK_FALSE((*rows)[0].read_bandwidth_gb_per_s);
  CHECK(*(*rows)[1].read_bandwidth_gb_per_s == 12.5);
  CHECK((*rows)[1].adapter == "Model T");
  CHECK((*rows)[1].layout == "cache");
  CHECK_FALSE((*rows)[1].port_limit_gb_per_s);
  CHECK(to_json(*rows) == to_json({first, second}));
  std::ofstream(path) << "{\"rows\": " << to_json({first, second}) << "}";  // a report's figures
  CHECK(read_rows(path)->size() == 2);
}

TEST_CASE("bench rows: what is no file of rows is refused by name") {
  const test::TemporaryDirectory folder;
  const auto path = folder.path() / "rows.json";
  const auto refusal_of = [&](const std::string& text) {
    std::ofstream(path) << text;
    const auto rows = read_rows(path);
    REQUIRE_FALSE(rows);
    CHECK(rows.error().message.find("rows.json") != std::string::npos);
    return rows.error().message;
  };
  CHECK(read_rows(folder.path() / "absent").error().code == Errc::not_found);
  CHECK(refusal_of("").find("no JSON list") != std::string::npos);
  CHECK(refusal_of("{}").find("no JSON list") != std::string::npos);
  CHECK(refusal_of("[1]").find("row 0") != std::string::npos);
  CHECK(refusal_of("[{}]").find("\"op\"") != std::string::npos);
  std::string text = to_json({make_row("k4v4", 1024, 5)});
  text.replace(text.find("1024"), 4, "-3.5");
  const std::string refusal = refusal_of(text);
  CHECK(refusal.find("\"n_token\": -3.5") != std::string::npos);
}

TEST_CASE("bench compare: equal variants are paired, their ratio is after over before") {
  const std::vector<BenchRow> before = {make_row("k4v4", 1024, 100), make_row("k4v4", 4096, 400),
                                        make_row("k2v2", 1024, 50)};
  const std::vector<BenchRow> after = {make_row("k4v4", 4096, 100), make_row("k4v4", 1024, 400),
                                       make_row("k8v8", 1024, 50)};
  const auto comparison = compare_rows(before, after);
  REQUIRE(comparison);
  REQUIRE(comparison->pairs.size() == 2);
  CHECK(comparison->pairs[0].time_ratio() == 4);
  CHECK(comparison->pairs[1].time_ratio() == 0.25);
  CHECK(comparison->n_only_before == 1);
  CHECK(comparison->n_only_after == 1);
  const auto table = table_of(*comparison);
  REQUIRE(table.size() == 4);
  CHECK(table[1].back() == "4.000");
  CHECK(table.back().back() == "1.000");  // the geometric mean
}

TEST_CASE("bench compare: a variant that was measured twice meets its own other time") {
  const std::vector<BenchRow> rows = {make_row("k4v4", 1024, 100), make_row("k4v4", 1024, 200)};
  const auto comparison = compare_rows(rows, rows);
  REQUIRE(comparison);
  REQUIRE(comparison->pairs.size() == 2);
  CHECK(comparison->pairs[1].time_ratio() == 1);
  CHECK(comparison->n_only_after == 0);
}

TEST_CASE("bench compare: another shape, set, layout or thread count is another variant") {
  const BenchRow row = make_row("k4v4", 1024, 100);
  std::vector<BenchRow> others(7, row);
  others[0].head_dim = 64;
  others[1].instruction_set = "avx512";
  others[2].layout = "head";
  others[3].n_thread = 1;
  others[4].n_q = 2;
  others[5].op = "prefill";
  others[6].sparse_values = "all left out";
  const auto comparison = compare_rows({row}, others);
  REQUIRE_FALSE(comparison);
  CHECK(comparison.error().code == Errc::not_found);
  CHECK_FALSE(compare_rows({row}, {make_row("k4v4", 1024, 0)}));
  CHECK_FALSE(compare_rows({}, {}));
}

TEST_CASE("bench table: a line per row under a heading, '-' for what does not apply") {
  const auto table = table_of(std::vector<BenchRow>{make_row("k4v4", 1024, 100)});
  REQUIRE(table.size() == 2);
  CHECK(table[0].size() == table[1].size());
  CHECK(table[1].back() == "-");
  CHECK(label_of(make_row("k4v4", 1024, 100)) == "k4v4 avx2 2T");
}

}  // namespace
}  // namespace kvault::tools
