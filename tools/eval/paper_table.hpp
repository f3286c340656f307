#pragma once

#include <cstdint>
#include <vector>

namespace kvault::eval {

/// One line of TurboQuant's own table (arXiv 2504.19874, theorems 1 and 2, fine values).
struct PaperRow {
  std::uint32_t bits = 0;
  double mse = 0;             ///< of unit vectors, measured
  double exact_mse = 0;       ///< of the codebook, integrated
  double prod_times_dim = 0;  ///< mean squared error of inner products of unit vectors, times dim
  double exact_prod_times_dim = 0;  ///< pi/2 times the exact MSE of one bit less
};

/// 1 to 4 bits over `n_vector` random unit vectors: dense rotation, exact codebook; the inner
/// products with one bit less and QJL's residual.
std::vector<PaperRow> paper_table(std::uint32_t dim, std::uint32_t n_vector);

}  // namespace kvault::eval
