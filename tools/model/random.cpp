#include "tools/model/random.hpp"

#include "core/base/assert.hpp"

namespace kvault::tools {
namespace {

void remove_part_along(std::span<const double> unit, std::span<double> row) {
  double sum = 0;
  for (std::size_t i = 0; i < row.size(); ++i) sum += unit[i] * row[i];
  for (std::size_t i = 0; i < row.size(); ++i) row[i] -= sum * unit[i];
}

void normalise(std::span<double> row) {
  double sum = 0;
  for (const double entry : row) sum += entry * entry;
  const double factor = 1.0 / std::sqrt(sum);
  for (double& entry : row) entry *= factor;
}

}  // namespace

std::vector<double> orthonormal_rows(Random& random, std::size_t n_row, std::size_t width,
                                     std::span<const double> first) {
  KVAULT_ASSERT(n_row + (first.empty() ? 0 : 1) <= width);
  std::vector<double> rows(n_row * width);
  for (std::size_t r = 0; r < n_row; ++r) {
    const std::span<double> row(&rows[r * width], width);
    for (double& entry : row) entry = random.normal();
    for (int pass = 0; pass < 2; ++pass) {  // the second removes what rounding left of the first
      if (!first.empty()) remove_part_along(first, row);
      for (std::size_t s = 0; s < r; ++s) remove_part_along({&rows[s * width], width}, row);
    }
    normalise(row);
  }
  return rows;
}

}  // namespace kvault::tools
