#pragma once

#include <cstdint>
#include <span>

namespace kvault::tools {

/// How many threads OpenBLAS uses, for the whole process; 0: one per core.
void set_matmul_threads(std::uint32_t n_thread);

/// The shape of a product.
struct MatmulShape {
  std::size_t n = 0;
  std::size_t in = 0;
  std::size_t out = 0;
};

/// y[n][out] = x[n][in] w[out][in]^T in f32. The same shape and number of threads give the same
/// bits every time; another shape may round differently.
void matmul(const MatmulShape& shape, std::span<const float> x, std::span<const float> w,
            std::span<float> y);

/// The same with w[in][out].
void matmul_untransposed(const MatmulShape& shape, std::span<const float> x,
                         std::span<const float> w, std::span<float> y);

}  // namespace kvault::tools
