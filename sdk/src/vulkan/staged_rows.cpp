#include "sdk/src/vulkan/staged_rows.hpp"

#include <string_view>

#include "sdk/src/c_boundary.hpp"

namespace kvault::c {
namespace {

/// How rows lie in a buffer, from their place on.
struct RowPlan {
  std::uint64_t row_size_bytes;
  std::uint64_t token_stride_bytes;
  std::uint64_t head_stride_bytes;
  std::uint32_t n_token;
  std::uint32_t n_head;
};

/// Whether (n - 1) steps fit in the room, which they are then taken from.
bool take_steps(std::uint64_t& room_bytes, std::uint32_t n, std::uint64_t stride_bytes) {
  if (n < 2) return true;
  if (stride_bytes > room_bytes / (n - 1)) return false;
  room_bytes -= stride_bytes * (n - 1);
  return true;
}

/// The last row ends within the room; and as rows do not overlap, all together are no larger.
bool fits(const RowPlan& plan, std::uint64_t room_bytes) {
  if (plan.row_size_bytes > room_bytes / plan.n_head / plan.n_token) return false;
  std::uint64_t left_bytes = room_bytes - plan.row_size_bytes;
  return take_steps(left_bytes, plan.n_token, plan.token_stride_bytes) &&
         take_steps(left_bytes, plan.n_head, plan.head_stride_bytes);
}

/// Rows that touch are one range.
std::vector<vulkan::ByteRange> ranges_of(const RowPlan& plan, std::uint64_t first_byte) {
  std::vector<vulkan::ByteRange> ranges;
  for (std::uint32_t token = 0; token < plan.n_token; ++token) {
    for (std::uint32_t head = 0; head < plan.n_head; ++head) {
      const std::uint64_t at =
          first_byte + token * plan.token_stride_bytes + head * plan.head_stride_bytes;
      const bool touches =
          !ranges.empty() && ranges.back().offset_bytes + ranges.back().size_bytes == at;
      if (!touches) ranges.push_back({at, 0});
      ranges.back().size_bytes += plan.row_size_bytes;
    }
  }
  return ranges;
}

}  // namespace

VkBuffer to_vulkan_buffer(std::uint64_t handle) { return reinterpret_cast<VkBuffer>(handle); }

Result<vulkan::ByteRange> range_in(const char* name, const kvault_vulkan_buffer& place,
                                   std::uint64_t size_bytes) {
  if (place.handle == 0) return fail(Errc::invalid_argument, message(name, ": no buffer is given"));
  if (place.offset_bytes <= place.size_bytes &&
      size_bytes <= place.size_bytes - place.offset_bytes) {
    return vulkan::ByteRange{place.offset_bytes, size_bytes};
  }
  return fail(Errc::out_of_range,
              message(name, ": ", size_bytes, " bytes at byte ", place.offset_bytes,
                      " do not lie in a buffer of ", place.size_bytes));
}

Result<StagedRows> StagedRows::create(const kvault_cache& cache, const LayerSpec& spec, Side side,
                                      const kvault_vulkan_rows* rows) {
  const char* const name = side == Side::key ? "keys" : "values";
  KVAULT_CHECK(require(rows, name));
  StagedRows staged;
  KVAULT_TRY(const vulkan::ByteRange first, range_in(name, rows->buffer, 0));
  staged.buffer_ = to_vulkan_buffer(rows->buffer.handle);
  staged.n_token_ = rows->n_token;
  const std::uint32_t dim = side == Side::key ? spec.key_head_dim : spec.value_head_dim;
  RowPlan plan = {.row_size_bytes = dim * size_bytes_of(cache.cache.options().shape.row_type),
                  .token_stride_bytes = rows->token_stride_bytes,
                  .head_stride_bytes = rows->head_stride_bytes,
                  .n_token = rows->n_token,
                  .n_head = spec.n_kv_head};
  // A layer without rows is for the cache to refuse.
  if (plan.n_token == 0 || plan.n_head == 0) return staged;
  if (plan.head_stride_bytes == 0) plan.head_stride_bytes = plan.row_size_bytes;
  if (plan.token_stride_bytes == 0) plan.token_stride_bytes = plan.row_size_bytes * plan.n_head;
  if (!fits(plan, rows->buffer.size_bytes - first.offset_bytes)) {
    return fail(Errc::out_of_range,
                message(name, ": ", plan.n_token, " tokens of ", plan.n_head, " rows of ",
                        plan.row_size_bytes, " bytes, ", plan.token_stride_bytes, " and ",
                        plan.head_stride_bytes, " apart, from byte ", first.offset_bytes,
                        " on do not lie in a buffer of ", rows->buffer.size_bytes));
  }
  staged.ranges_ = ranges_of(plan, first.offset_bytes);
  staged.bytes_.resize(plan.row_size_bytes * plan.n_head * plan.n_token);
  return staged;
}

}  // namespace kvault::c
