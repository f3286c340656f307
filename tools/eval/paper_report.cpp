#include "tools/eval/paper_report.hpp"

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/eval/paper_table.hpp"

namespace kvault::eval {
namespace {

/// As printed in the paper, by bits from 1 on.
struct PrintedRow {
  double mse;
  double prod_times_dim;
};
constexpr PrintedRow kPrinted[] = {{0.36, 1.57}, {0.117, 0.56}, {0.03, 0.18}, {0.009, 0.047}};

struct Size {
  std::uint32_t dim;
  std::uint32_t n_vector;
};
/// As many vectors as take seconds: a dense rotation costs dim^2 each.
constexpr Size kSizes[] = {{128, 4000}, {1536, 400}};

constexpr const char* kNotes =
    "MSE of unit vectors, and d times the mean squared error of their inner products.\n"
    "Two printed numbers are rounded wrongly: 0.03 is 0.0345 cut off, not rounded, and 0.047 is\n"
    "pi/2 times that 0.03, where pi/2 times 0.0345 is 0.054.\n";

}  // namespace

void print_paper_table(bool as_json) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  if (!as_json) {
    std::printf("dim   bits  MSE: paper  exact   measured  d x product: paper  exact   measured\n");
  }
  for (const Size& size : kSizes) {
    for (const PaperRow& row : paper_table(size.dim, size.n_vector)) {
      const PrintedRow& printed = kPrinted[row.bits - 1];
      rows.push_back({{"dim", size.dim},
                      {"bits", row.bits},
                      {"mse_paper", printed.mse},
                      {"mse_exact", row.exact_mse},
                      {"mse", row.mse},
                      {"prod_times_dim_paper", printed.prod_times_dim},
                      {"prod_times_dim_exact", row.exact_prod_times_dim},
                      {"prod_times_dim", row.prod_times_dim}});
      if (as_json) continue;
      std::printf("%-4u  %-4u  %-10g  %.4f  %.4f    %-18g  %.4f  %.4f\n", size.dim, row.bits,
                  printed.mse, row.exact_mse, row.mse, printed.prod_times_dim,
                  row.exact_prod_times_dim, row.prod_times_dim);
    }
  }
  std::fputs(as_json ? (rows.dump(2) + "\n").c_str() : kNotes, stdout);
}

}  // namespace kvault::eval
