#pragma once

#include <cstdint>

#include "gpu_cuda/kernels.hpp"

namespace kvault::cuda {

/// The kernels that turn rows of a head_dim.
struct RowKernels {
  Kernel encode;
  Kernel reconstruct;
};

/// pre: is_supported_head_dim(head_dim)
RowKernels row_kernels(std::uint32_t head_dim);

/// What these kernels take of the rotation beside its table.
/// pre: is_supported_head_dim(head_dim)
PaleySigns paley_signs(std::uint32_t head_dim);

}  // namespace kvault::cuda
