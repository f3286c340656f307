#pragma once

#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/machine.cuh"

namespace kvault::cuda {

// EncodeParams::scale_rule, beside the plain one; core/codec/scale_rule.hpp.
constexpr u32 kScaleRuleMatched = 1;
constexpr u32 kScaleRuleLeastSquares = 2;
constexpr u32 kScaleRuleUnbiased = 3;

/// What a kernel branches on. Where instructions are counted, in builds that never run, the
/// compiler knows it: halves to KVAULT_COUNTED_FORMAT, keys or, where KVAULT_COUNTED_VALUES is 1,
/// values, none of them extreme.
struct EncodeCase {
  u32 source_format;
  u32 target_format;
  bool is_value;
  bool is_unbiased;
  bool has_extremes;  ///< perhaps: numbers whose squares no float holds
};
#ifdef KVAULT_COUNTED_FORMAT
KVAULT_DEVICE constexpr EncodeCase case_of(const EncodeParams&, const EncodeJob&) {
  return {KVAULT_FORMAT_RAW_F16, KVAULT_COUNTED_FORMAT, KVAULT_COUNTED_VALUES != 0, true, false};
}
#else
KVAULT_DEVICE EncodeCase case_of(const EncodeParams& params, const EncodeJob& job) {
  return {job.source_format, job.target_format, params.is_value != 0,
          params.scale_rule == kScaleRuleUnbiased, true};
}
#endif

}  // namespace kvault::cuda
