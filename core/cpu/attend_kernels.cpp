#include "core/cpu/attend_kernels.hpp"

namespace kvault::cpu {

AttendKernels attend_kernels(InstructionSet set) {
  const CodedKernels coded = coded_kernels(set);
  const RawKernels raw = raw_kernels(set);
  const VectorKernels vector = vector_kernels(set);
  return {.form = coded.form,
          .enter = coded.enter,
          .leave = coded.leave,
          .key_logits = coded.key_logits,
          .page_softmax = page_softmax_kernel(set),
          .value_sums = coded.value_sums,
          .raw_key_logits = raw.key_logits,
          .raw_value_sums = raw.value_sums,
          .widen_halves = vector.widen_halves,
          .row_dots = vector.row_dots,
          .query_digits = query_digits_kernel(set),
          .greatest = vector.greatest,
          .scale = vector.scale,
          .add_scaled = vector.add_scaled};
}

}  // namespace kvault::cpu
