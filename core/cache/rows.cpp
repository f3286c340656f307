#include "core/cache/rows.hpp"

#include <cstring>

#include "core/base/assert.hpp"

namespace kvault {
namespace {

/// The first index whose exponent bits are all ones, or n.
template <class Word>
std::size_t find_not_finite(std::span<const std::byte> row, Word exponent_mask) {
  const std::size_t n = row.size() / sizeof(Word);
  unsigned any = 0;
  for (std::size_t i = 0; i < n; ++i) {
    Word word = 0;
    std::memcpy(&word, row.data() + i * sizeof(Word), sizeof(Word));
    any |= static_cast<unsigned>((word & exponent_mask) == exponent_mask);
  }
  if (any == 0) return n;
  for (std::size_t i = 0; i < n; ++i) {
    Word word = 0;
    std::memcpy(&word, row.data() + i * sizeof(Word), sizeof(Word));
    if ((word & exponent_mask) == exponent_mask) return i;
  }
  return n;
}

std::size_t find_not_finite(std::span<const std::byte> row, RowType type) {
  switch (type) {
    case RowType::f16:
      return find_not_finite<std::uint16_t>(row, 0x7C00U);
    case RowType::bf16:
      return find_not_finite<std::uint16_t>(row, 0x7F80U);
    case RowType::f32:
      return find_not_finite<std::uint32_t>(row, 0x7F800000U);
  }
  return 0;
}

std::optional<RowElement> find_on_host(const RowsView& rows) {
  for (std::uint32_t token = 0; token < rows.n_token; ++token) {
    for (std::uint32_t head = 0; head < rows.n_head; ++head) {
      const std::size_t channel = find_not_finite(rows.row(token, head), rows.type);
      if (channel != rows.head_dim) {
        return RowElement{token, head, static_cast<std::uint32_t>(channel)};
      }
    }
  }
  return {};
}

}  // namespace

RowsView RowsView::dense(const std::byte* data, RowType type, std::uint32_t n_token,
                         std::uint32_t n_head, std::uint32_t head_dim) {
  const std::int64_t head_stride = std::int64_t{head_dim} * size_bytes_of(type);
  return {data, type, n_token, n_head, head_dim, head_stride * n_head, head_stride};
}

std::span<const std::byte> RowsView::row(std::uint32_t token, std::uint32_t head) const {
  KVAULT_ASSERT(token < n_token && head < n_head);
  return {data + token * token_stride_bytes + head * head_stride_bytes, row_size_bytes()};
}

RowsView RowsView::part(std::uint32_t first, std::uint32_t count) const {
  KVAULT_ASSERT(first <= n_token && count <= n_token - first);
  RowsView view = *this;
  view.data += first * token_stride_bytes;
  view.n_token = count;
  return view;
}

Result<> check_finite(Device& device, const RowsView& rows, Side side) {
  std::optional<RowElement> found;
  if (rows.on_device) {
    KVAULT_TRY(found, device.engine_memory()->find_not_finite(rows.engine_rows()));
  } else {
    found = find_on_host(rows);
  }
  if (!found) return {};
  return fail(Errc::not_finite, message(side == Side::key ? "key" : "value", " of token ",
                                        found->token, " of the call, kv head ", found->head,
                                        ", channel ", found->channel, " is NaN or infinite"));
}

}  // namespace kvault
