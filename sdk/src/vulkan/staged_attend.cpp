#include "sdk/src/vulkan/staged_attend.hpp"

#include "sdk/src/c_boundary.hpp"
#include "sdk/src/vulkan/staged_rows.hpp"

namespace kvault::c {
namespace {

bool overlap(const kvault_vulkan_buffer& a, std::uint64_t a_size_bytes,
             const kvault_vulkan_buffer& b, std::uint64_t b_size_bytes) {
  return a.handle == b.handle && a.offset_bytes < b.offset_bytes + b_size_bytes &&
         b.offset_bytes < a.offset_bytes + a_size_bytes;
}

}  // namespace

Result<StagedAttend::Part> StagedAttend::make_part(const char* name,
                                                   const kvault_vulkan_buffer& place,
                                                   std::uint64_t n_row, std::uint32_t n_column) {
  Part part;
  part.buffer = to_vulkan_buffer(place.handle);
  KVAULT_TRY(part.range, range_in(name, place, n_row * n_column * sizeof(float)));
  part.values.resize(n_row * n_column);
  return part;
}

Result<StagedAttend> StagedAttend::create(const LayerSpec& spec,
                                          const kvault_attend_options* options,
                                          const kvault_vulkan_attend_buffers* buffers) {
  StagedAttend staged;
  KVAULT_TRY(staged.options_, read_options(options));
  KVAULT_CHECK(require(buffers, "buffers"));
  const kvault_attend_options& given = staged.options_;
  if (given.q != nullptr || given.out != nullptr || given.lse != nullptr) {
    return fail(Errc::invalid_argument,
                "options.q, out and lse are for host memory; with buffers they are NULL");
  }
  // Not too large for a product: heads and their sizes were checked when the cache was made.
  const std::uint64_t n_row = std::uint64_t{given.n_q} * spec.n_head;
  KVAULT_TRY(staged.q_, make_part("q", buffers->q, n_row, spec.key_head_dim));
  KVAULT_TRY(staged.out_, make_part("out", buffers->out, n_row, spec.value_head_dim));
  if (buffers->lse.handle == 0) return staged;
  KVAULT_TRY(staged.lse_, make_part("lse", buffers->lse, n_row, 1));
  if (overlap(buffers->out, staged.out_.range.size_bytes, buffers->lse,
              staged.lse_.range.size_bytes)) {
    return fail(Errc::invalid_argument,
                message("out at byte ", buffers->out.offset_bytes, " and lse at byte ",
                        buffers->lse.offset_bytes, " of one buffer overlap"));
  }
  return staged;
}

kvault_attend_options StagedAttend::options() {
  kvault_attend_options options = options_;
  options.struct_size = sizeof(options);
  options.q = q_.values.data();
  options.out = out_.values.data();
  options.lse = lse_.buffer == VK_NULL_HANDLE ? nullptr : lse_.values.data();
  return options;
}

}  // namespace kvault::c
