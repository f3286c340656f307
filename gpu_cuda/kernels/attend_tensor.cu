#include "gpu_cuda/kernels/tensor_attention.cuh"
#include "gpu_cuda/kernels/tensor_values.cuh"
#include "gpu_cuda/kernels/tensor_weights.cuh"

// A kernel of tensor_attention.cuh for every pair of padded head_dims that models have, narrow and
// wide.

namespace kvault::cuda {
namespace {

constexpr bool k_narrow = false;
constexpr bool k_wide = true;

template <u32 kKeyDim, u32 kValueDim, bool kWide>
KVAULT_DEVICE void attend_item(const AttendParams& params,
                               TensorShared<kKeyDim, kValueDim, kWide>& shared) {
  const ItemEntry& item = params.items[block_index()];
  TensorAttention<kKeyDim, kValueDim, kWide>(params, item, shared).run();
}

}  // namespace

#define KVAULT_TENSOR_KERNEL(key_dim, value_dim, width)                        \
  KVAULT_KERNEL(kAttendThreads, blocks_at_once(key_dim, value_dim, k_##width)) \
                                                                               \
  kvault_tensor_##key_dim##_##value_dim##_##width(const AttendParams params) { \
    using Shared = TensorShared<key_dim, value_dim, k_##width>;                \
    KVAULT_SHARED(Shared, shared);                                             \
    attend_item<key_dim, value_dim, k_##width>(params, shared);                \
  }
#ifdef KVAULT_COUNTED_SCHEME
KVAULT_TENSOR_KERNEL(64, 64, narrow)
KVAULT_TENSOR_KERNEL(128, 128, narrow)
KVAULT_TENSOR_KERNEL(128, 128, wide)
#else
#include "gpu_cuda/tensor_kernels.inc"
#endif
#undef KVAULT_TENSOR_KERNEL

}  // namespace kvault::cuda
