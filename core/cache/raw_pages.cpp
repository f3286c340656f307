#include "core/cache/raw_pages.hpp"

#include <algorithm>
#include <cstring>

#include "core/base/assert.hpp"

namespace kvault {

RawPages::RawPages(const LayerSpec& layer, RowType type, std::uint32_t n_ring)
    : n_kv_head_(layer.n_kv_head),
      key_head_dim_(layer.key_head_dim),
      value_head_dim_(layer.value_head_dim),
      type_(type),
      n_ring_(n_ring),
      key_block_size_bytes_(BlockLayout::of(BlockFormat::raw(type), key_head_dim_).size_bytes),
      value_block_size_bytes_(BlockLayout::of(BlockFormat::raw(type), value_head_dim_).size_bytes),
      slot_size_bytes_((key_block_size_bytes_ + value_block_size_bytes_) * n_kv_head_) {}

Result<RawPages> RawPages::create(Device& device, const LayerSpec& layer, RowType type,
                                  std::uint32_t n_ring) {
  RawPages pages(layer, type, n_ring);
  KVAULT_CHECK(pages.allocate(device));
  return pages;
}

Result<> RawPages::allocate(Device& device) {
  if (buffer_ != nullptr) return {};
  const std::uint32_t head_dim_max = std::max(key_head_dim_, value_head_dim_);
  staging_.resize(std::size_t{kPageTokens} * head_dim_max * size_bytes_of(type_));
  KVAULT_TRY(buffer_, device.allocate({.size_bytes = slot_size_bytes_ * (n_ring_ + 1)}));
  return {};
}

std::uint64_t RawPages::slot_offset_bytes(std::uint64_t page) const {
  return page == 0 ? 0 : slot_size_bytes_ * (1 + page % n_ring_);
}

BlockRef RawPages::block(std::uint64_t page, Side side, std::uint32_t kv_head,
                         std::uint32_t buffer_index) const {
  const std::uint64_t offset_in_slot =
      side == Side::key ? key_block_size_bytes_ * kv_head
                        : key_block_size_bytes_ * n_kv_head_ + value_block_size_bytes_ * kv_head;
  return {slot_offset_bytes(page) + offset_in_slot, buffer_index, BlockFormat::raw(type_)};
}

Result<> RawPages::write(Device& device, std::uint64_t page, std::uint32_t token, Side side,
                         const RowsView& rows) {
  KVAULT_ASSERT(rows.type == type_ && rows.n_head == n_kv_head_ && rows.head_dim == head_dim(side));
  KVAULT_ASSERT(token <= kPageTokens && rows.n_token <= kPageTokens - token);
  const std::size_t row_bytes = rows.row_size_bytes();
  if (rows.on_device) {
    return device.engine_memory()->gather(
        rows.engine_rows(), *buffer_,
        {.offset_bytes = block(page, side, 0, 0).offset_bytes + token * row_bytes,
         .head_stride_bytes = side == Side::key ? key_block_size_bytes_ : value_block_size_bytes_});
  }
  for (std::uint32_t head = 0; head < n_kv_head_; ++head) {
    for (std::uint32_t i = 0; i < rows.n_token; ++i) {
      std::memcpy(staging_.data() + i * row_bytes, rows.row(i, head).data(), row_bytes);
    }
    const std::uint64_t offset_bytes = block(page, side, head, 0).offset_bytes + token * row_bytes;
    KVAULT_CHECK(
        device.upload(*buffer_, offset_bytes, std::span(staging_).first(rows.n_token * row_bytes)));
  }
  return {};
}

Result<> RawPages::read(Device& device, std::uint64_t page, std::uint32_t token,
                        std::uint32_t n_token, Side side, std::span<std::byte> target) const {
  const std::size_t row_bytes = std::size_t{head_dim(side)} * size_bytes_of(type_);
  KVAULT_ASSERT(token <= kPageTokens && n_token <= kPageTokens - token);
  KVAULT_ASSERT(target.size() == n_token * n_kv_head_ * row_bytes);
  std::vector<std::byte> rows(n_token * row_bytes);
  for (std::uint32_t head = 0; head < n_kv_head_; ++head) {
    const std::uint64_t offset_bytes = block(page, side, head, 0).offset_bytes + token * row_bytes;
    KVAULT_TRY(const Ticket ticket, device.download(*buffer_, offset_bytes, rows));
    KVAULT_CHECK(device.wait(ticket));
    for (std::uint32_t i = 0; i < n_token; ++i) {
      std::memcpy(target.data() + (std::size_t{i} * n_kv_head_ + head) * row_bytes,
                  rows.data() + i * row_bytes, row_bytes);
    }
  }
  return {};
}

Result<RawPages> RawPages::clone(Device& device) const {
  RawPages copy = RawPages(LayerSpec{.n_kv_head = n_kv_head_,
                                     .key_head_dim = key_head_dim_,
                                     .value_head_dim = value_head_dim_},
                           type_, n_ring_);
  copy.staging_ = staging_;
  KVAULT_TRY(copy.buffer_,
             device.allocate({.size_bytes = buffer_->size_bytes(), .is_zeroed = false}));
  std::vector<std::byte> bytes(buffer_->size_bytes());
  KVAULT_TRY(const Ticket read, device.download(*buffer_, 0, bytes));
  KVAULT_CHECK(device.wait(read));
  KVAULT_TRY(const Ticket written, device.upload(*copy.buffer_, 0, bytes));
  KVAULT_CHECK(device.wait(written));
  return copy;
}

}  // namespace kvault
