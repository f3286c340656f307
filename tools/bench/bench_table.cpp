#include "tools/bench/bench_table.hpp"

#include "tools/cli/report.hpp"

namespace kvault::tools {
namespace {

std::string text_of(const char* format, const std::optional<double>& value) {
  return value ? format_number(format, *value) : "-";
}

/// "48 % of 17.3".
std::string share_of(const std::optional<double>& fraction, const std::optional<double>& whole) {
  if (!fraction || !whole) return "-";
  return format_number("%.0f %% of ", *fraction * 100) + format_number("%.1f", *whole);
}

/// What one call moves beside stored bytes: f16 rows.
std::optional<double> rows_gb_per_s(const BenchRow& row) {
  return row.input_gb_per_s ? row.input_gb_per_s : row.output_gb_per_s;
}

}  // namespace

std::vector<std::vector<std::string>> table_of(const std::vector<BenchRow>& rows) {
  std::vector<std::vector<std::string>> table = {{"op", "n_q", "tokens", "heads", "dim", "variant",
                                                  "us", "min us", "stored GB/s", "rows GB/s",
                                                  "of memory's", "of ports'", "f16 x"}};
  for (const BenchRow& row : rows) {
    table.push_back(
        {row.op, row.n_q > 0 ? std::to_string(row.n_q) : "-", std::to_string(row.n_token),
         message(row.n_head, ":", row.n_kv_head), std::to_string(row.head_dim), label_of(row),
         format_number("%.1f", row.time_us), format_number("%.1f", row.time_min_us),
         format_number("%.2f", row.stored_gb_per_s), text_of("%.2f", rows_gb_per_s(row)),
         share_of(row.fraction_of_bandwidth, row.read_bandwidth_gb_per_s),
         share_of(row.fraction_of_port_limit, row.port_limit_gb_per_s),
         text_of("%.2f", row.speedup_over_f16)});
  }
  return table;
}

}  // namespace kvault::tools
