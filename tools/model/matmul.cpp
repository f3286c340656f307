#include "tools/model/matmul.hpp"

#include <cblas.h>

#include <algorithm>
#include <thread>

#include "core/base/assert.hpp"

// Declared by OpenBLAS's own cblas.h only, which is not the one that every system installs.
extern "C" void openblas_set_num_threads(int n_thread);

namespace kvault::tools {

void set_matmul_threads(std::uint32_t n_thread) {
  const std::uint32_t n_core = std::max(1U, std::thread::hardware_concurrency());
  openblas_set_num_threads(static_cast<int>(n_thread == 0 ? n_core : n_thread));
}

void matmul(const MatmulShape& shape, std::span<const float> x, std::span<const float> w,
            std::span<float> y) {
  KVAULT_ASSERT(x.size() == shape.n * shape.in && w.size() == shape.out * shape.in);
  KVAULT_ASSERT(y.size() == shape.n * shape.out);
  if (shape.n == 0) return;
  const auto n = static_cast<int>(shape.n);
  const auto in = static_cast<int>(shape.in);
  const auto out = static_cast<int>(shape.out);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, out, in, 1.0F, x.data(), in, w.data(), in,
              0.0F, y.data(), out);
}

void matmul_untransposed(const MatmulShape& shape, std::span<const float> x,
                         std::span<const float> w, std::span<float> y) {
  KVAULT_ASSERT(x.size() == shape.n * shape.in && w.size() == shape.out * shape.in);
  KVAULT_ASSERT(y.size() == shape.n * shape.out);
  if (shape.n == 0) return;
  const auto n = static_cast<int>(shape.n);
  const auto in = static_cast<int>(shape.in);
  const auto out = static_cast<int>(shape.out);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, out, in, 1.0F, x.data(), in, w.data(),
              out, 0.0F, y.data(), out);
}

}  // namespace kvault::tools
