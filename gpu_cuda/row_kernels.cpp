#include "gpu_cuda/row_kernels.hpp"

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/codec/hadamard.hpp"

namespace kvault::cuda {

RowKernels row_kernels(std::uint32_t head_dim) {
  switch (head_dim) {
#define KVAULT_ROW_KERNEL(head_dim) \
  case head_dim:                    \
    return {Kernel::encode_##head_dim, Kernel::reconstruct_##head_dim};
#include "gpu_cuda/row_kernels.inc"
#undef KVAULT_ROW_KERNEL
    default:
      KVAULT_ASSERT(false);
      return {};
  }
}

PaleySigns paley_signs(std::uint32_t head_dim) {
  const std::uint32_t order = hadamard_factors(head_dim).paley_order;
  KVAULT_ASSERT(order == paley_order_of(head_dim));
  PaleySigns signs = {};
  fill_paley_signs(order, std::span(signs.at).first(std::size_t{order} * order));
  return signs;
}

}  // namespace kvault::cuda
