#include "sdk/src/engine_ranges.hpp"

namespace kvault::c {
namespace {

/// More than any device has, and little enough for sums.
constexpr std::uint64_t kRoomBytes = std::uint64_t{1} << 56U;

/// Whether (n - 1) steps fit in the room, which they are then taken from. pre: n > 0
bool take_steps(std::uint64_t& room_bytes, std::uint32_t n, std::uint64_t stride_bytes) {
  if (n < 2) return true;
  if (stride_bytes > room_bytes / (n - 1)) return false;
  room_bytes -= stride_bytes * (n - 1);
  return true;
}

}  // namespace

Result<> EngineRanges::add(std::string_view name, const void* address, std::uint64_t size_bytes,
                           std::uint64_t alignment_bytes, bool is_written) {
  KVAULT_CHECK(memory_.check(name, address, size_bytes, alignment_bytes));
  const Range range = {name, reinterpret_cast<std::uintptr_t>(address), size_bytes};
  for (const Range& other : ranges_) {
    if (!is_written || range.begin >= other.begin + other.size_bytes ||
        other.begin >= range.begin + range.size_bytes) {
      continue;
    }
    return fail(Errc::invalid_argument, message(name, " overlaps ", other.name));
  }
  ranges_.push_back(range);
  return {};
}

Result<> EngineRanges::add_rows(std::string_view name, const RowsView& rows) {
  // A layer without rows is for the cache to refuse.
  if (rows.n_token == 0 || rows.n_head == 0) return {};
  const std::uint64_t element_bytes = size_bytes_of(rows.type);
  for (const std::int64_t stride_bytes : {rows.token_stride_bytes, rows.head_stride_bytes}) {
    if (stride_bytes >= 0 && static_cast<std::uint64_t>(stride_bytes) % element_bytes == 0) {
      continue;
    }
    return fail(Errc::invalid_argument,
                message(name, ": a stride of ", stride_bytes, " bytes is negative, or no multiple ",
                        "of the ", element_bytes, " of an element"));
  }
  std::uint64_t left_bytes = kRoomBytes - rows.row_size_bytes();
  if (!take_steps(left_bytes, rows.n_token, static_cast<std::uint64_t>(rows.token_stride_bytes)) ||
      !take_steps(left_bytes, rows.n_head, static_cast<std::uint64_t>(rows.head_stride_bytes))) {
    return fail(Errc::out_of_range,
                message(name, ": ", rows.n_token, " tokens of ", rows.n_head, " rows, ",
                        rows.token_stride_bytes, " and ", rows.head_stride_bytes,
                        " bytes apart, lie in no memory"));
  }
  return add(name, rows.data, kRoomBytes - left_bytes, element_bytes, false);
}

Result<> EngineRanges::add_request(const AttendRequest& request) {
  if (request.n_q == 0) return {};
  KVAULT_CHECK(add("q", request.q.data(), request.q.size_bytes(), sizeof(float), false));
  KVAULT_CHECK(add("out", request.out.data(), request.out.size_bytes(), sizeof(float), true));
  if (request.lse.empty()) return {};
  return add("lse", request.lse.data(), request.lse.size_bytes(), sizeof(float), true);
}

}  // namespace kvault::c
