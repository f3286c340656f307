#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/cache/rows.hpp"
#include "core/device/device.hpp"
#include "core/layout/block_layout.hpp"
#include "core/layout/layer.hpp"

namespace kvault {

/// The raw pages of one layer in one buffer of the device: the first page for ever (the sink), and
/// a ring of the newest ones. A slot holds the raw blocks of a page as a segment does: K of every
/// kv head, then V.
class RawPages {
 public:
  static Result<RawPages> create(Device& device, const LayerSpec& layer, RowType type,
                                 std::uint32_t n_ring);
  /// Without memory: nothing but sizes may be asked before allocate().
  RawPages(const LayerSpec& layer, RowType type, std::uint32_t n_ring);
  /// Takes the memory, where it is not there.
  Result<> allocate(Device& device);

  const Buffer& buffer() const { return *buffer_; }
  Buffer& buffer() { return *buffer_; }
  RowType type() const { return type_; }
  std::uint32_t n_ring() const { return n_ring_; }
  std::uint64_t slot_size_bytes() const { return slot_size_bytes_; }

  std::uint64_t slot_offset_bytes(std::uint64_t page) const;
  BlockRef block(std::uint64_t page, Side side, std::uint32_t kv_head,
                 std::uint32_t buffer_index) const;

  /// Writes rows of tokens [token, token + rows.n_token) of `page`. pre: they stay in the page
  Result<> write(Device& device, std::uint64_t page, std::uint32_t token, Side side,
                 const RowsView& rows);
  /// Reads rows [token, token + n_token) of `page` as [n_token, n_kv_head, head_dim].
  Result<> read(Device& device, std::uint64_t page, std::uint32_t token, std::uint32_t n_token,
                Side side, std::span<std::byte> target) const;
  /// A copy with a buffer of its own.
  Result<RawPages> clone(Device& device) const;

 private:
  std::uint32_t head_dim(Side side) const {
    return side == Side::key ? key_head_dim_ : value_head_dim_;
  }

  std::uint32_t n_kv_head_;
  std::uint32_t key_head_dim_;
  std::uint32_t value_head_dim_;
  RowType type_;
  std::uint32_t n_ring_;
  std::uint64_t key_block_size_bytes_;
  std::uint64_t value_block_size_bytes_;
  std::uint64_t slot_size_bytes_;
  std::unique_ptr<Buffer> buffer_;
  std::vector<std::byte> staging_;  ///< rows of one head
};

}  // namespace kvault
