#include "gpu_cuda/kernels/prefill_attention.cuh"
#include "gpu_cuda/kernels/prefill_values.cuh"
#include "gpu_cuda/kernels/prefill_weights.cuh"

// A kernel of prefill_attention.cuh for every pair of padded head_dims that prefill_kernels.inc
// names.

namespace kvault::cuda {
namespace {

/// Blocks of threads that are to fit a multiprocessor at once, of 65536 registers.
constexpr u32 prefill_blocks_at_once(u32 key_dim, u32 value_dim) {
  return key_dim > 128 || value_dim > 128 ? 2 : 3;
}

template <u32 kKeyDim, u32 kValueDim>
KVAULT_DEVICE void attend_item(const AttendParams& params,
                               PrefillShared<kKeyDim, kValueDim>& shared) {
  const ItemEntry& item = params.items[block_index()];
  PrefillAttention<kKeyDim, kValueDim>(params, item, shared).run();
}

}  // namespace

#define KVAULT_PREFILL_KERNEL(key_dim, value_dim)                           \
  KVAULT_KERNEL(kAttendThreads, prefill_blocks_at_once(key_dim, value_dim)) \
                                                                            \
  kvault_prefill_##key_dim##_##value_dim(const AttendParams params) {       \
    using Shared = PrefillShared<key_dim, value_dim>;                       \
    KVAULT_SHARED(Shared, shared);                                          \
    attend_item<key_dim, value_dim>(params, shared);                        \
  }
#ifdef KVAULT_COUNTED_SCHEME
KVAULT_PREFILL_KERNEL(128, 128)
#else
#include "gpu_cuda/prefill_kernels.inc"
#endif
#undef KVAULT_PREFILL_KERNEL

}  // namespace kvault::cuda
