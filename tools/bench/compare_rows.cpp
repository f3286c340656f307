#include "tools/bench/compare_rows.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

#include "tools/cli/report.hpp"

namespace kvault::tools {
namespace {

auto identity_of(const BenchRow& row) {
  return std::tie(row.op, row.device, row.preset, row.layout, row.sparse_values,
                  row.instruction_set, row.head_dim, row.n_head, row.n_kv_head, row.n_token,
                  row.n_q, row.n_sequence, row.n_thread);
}

/// Takes the first equal variant out of `rows`: one that was measured twice, as in a report, meets
/// its own other time.
std::optional<BenchRow> take_same(std::vector<BenchRow>& rows, const BenchRow& row) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const BenchRow& other) {
    return identity_of(other) == identity_of(row);
  });
  if (found == rows.end()) return std::nullopt;
  BenchRow same = *found;
  rows.erase(found);
  return same;
}

}  // namespace

Result<RowComparison> compare_rows(const std::vector<BenchRow>& before,
                                   const std::vector<BenchRow>& after) {
  RowComparison comparison;
  std::vector<BenchRow> unpaired = after;
  for (const BenchRow& row : before) {
    const std::optional<BenchRow> same = take_same(unpaired, row);
    if (!same) {
      ++comparison.n_only_before;
      continue;
    }
    if (!(row.time_us > 0) || !(same->time_us > 0)) {
      return fail(Errc::unknown_format,
                  message(row.op, " ", label_of(row), " has a time_us that is not positive"));
    }
    comparison.pairs.push_back({row, *same});
  }
  comparison.n_only_after = unpaired.size();
  if (comparison.pairs.empty()) {
    return fail(Errc::not_found, message("no row of the first file (", before.size(),
                                         " rows) is in the second (", after.size(), " rows)"));
  }
  return comparison;
}

std::vector<std::vector<std::string>> table_of(const RowComparison& comparison) {
  std::vector<std::vector<std::string>> table = {
      {"op", "tokens", "heads", "dim", "variant", "before us", "after us", "after/before"}};
  double sum = 0;
  for (const RowPair& pair : comparison.pairs) {
    const BenchRow& row = pair.before;
    sum += std::log(pair.time_ratio());
    table.push_back({row.op, std::to_string(row.n_token), message(row.n_head, ":", row.n_kv_head),
                     std::to_string(row.head_dim), label_of(row),
                     format_number("%.1f", row.time_us), format_number("%.1f", pair.after.time_us),
                     format_number("%.3f", pair.time_ratio())});
  }
  const double mean = std::exp(sum / static_cast<double>(comparison.pairs.size()));
  table.push_back({"mean", "", "", "",
                   message(comparison.pairs.size(), " in both, ", comparison.n_only_before,
                           " only before, ", comparison.n_only_after, " only after"),
                   "", "", format_number("%.3f", mean)});
  return table;
}

}  // namespace kvault::tools
