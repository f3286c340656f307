#include "tools/bench/svg_plot.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace kvault::tools {
namespace {

/// Whether every element is closed in turn and every attribute is quoted.
bool is_well_formed(const std::string& text) {
  std::vector<std::string> open;
  for (std::size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at + 1)) {
    const std::size_t end = text.find('>', at);
    if (end == std::string::npos) return false;
    const std::string tag = text.substr(at + 1, end - at - 1);
    if (tag.find('<') != std::string::npos || std::count(tag.begin(), tag.end(), '"') % 2 != 0) {
      return false;
    }
    if (tag.ends_with("/")) continue;
    if (!tag.starts_with("/")) {
      open.push_back(tag.substr(0, tag.find(' ')));
      continue;
    }
    if (open.empty() || open.back() != tag.substr(1)) return false;
    open.pop_back();
  }
  return open.empty();
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

BenchRow make_row(const std::string& preset, std::uint64_t n_token, double time_us) {
  BenchRow row;
  row.op = "decode";
  row.preset = preset;
  row.head_dim = 128;
  row.n_token = n_token;
  row.n_thread = 1;
  row.time_us = time_us;
  return row;
}

TEST_CASE("bench svg: a line per variant, a point per row") {
  const std::string svg = svg_of({make_row("raw", 1024, 900), make_row("k4v4", 1024, 100),
                                  make_row("raw", 4096, 4000), make_row("k4v4", 4096, 380)});
  CHECK(svg.starts_with("<svg xmlns="));
  CHECK(is_well_formed(svg));
  CHECK(count(svg, "<polyline") == 2);
  CHECK(count(svg, "<circle") == 4);
  CHECK(svg.find("decode 128 k4v4 1T") != std::string::npos);
  CHECK(svg.find("4 Ki") != std::string::npos);
  CHECK(svg.find("10 ms") != std::string::npos);
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(svg.find("href") == std::string::npos);
}

TEST_CASE("bench svg: names are escaped, and one point or none is still a drawing") {
  const std::string one = svg_of({make_row("<&>", 1000, 100)});
  CHECK(is_well_formed(one));
  CHECK(one.find("&lt;&amp;&gt;") != std::string::npos);
  for (const std::string& svg : {one, svg_of({}), svg_of({make_row("k4v4", 0, 0)})}) {
    CHECK(is_well_formed(svg));
    CHECK(svg.find("nan") == std::string::npos);
    CHECK(svg.find("inf") == std::string::npos);
  }
}

TEST_CASE("bench svg: more variants than colours stay apart") {
  std::vector<BenchRow> rows;
  for (std::uint32_t i = 0; i < 40; ++i) {
    rows.push_back(make_row(message("p", i), 1024, 10 + i));
  }
  const std::string svg = svg_of(rows);
  CHECK(is_well_formed(svg));
  CHECK(svg.find("stroke-dasharray") != std::string::npos);
}

}  // namespace
}  // namespace kvault::tools
