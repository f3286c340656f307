#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/cache/cache_options.hpp"
#include "core/cache/key_equaliser.hpp"
#include "core/cache/raw_pages.hpp"
#include "core/cache/rows.hpp"
#include "core/cache/segment.hpp"
#include "core/device/device.hpp"

namespace kvault {

/// The queries of an attend, as the cache takes them.
struct AttendRequest {
  std::uint32_t n_q = 0;
  std::span<const float> q;  ///< [n_q, n_head, key head_dim]
  std::span<float> out;      ///< [n_q, n_head, value head_dim]
  std::span<float> lse;      ///< [n_q, n_head], or empty
  float softmax_scale = 0;   ///< 0 = 1/sqrt(key head_dim)
  float logit_softcap = 0;
  SparseValues sparse_values = {};
  std::uint32_t window = 0;
  bool causal = true;
  std::span<const std::uint8_t> mask;  ///< [n_q, mask_stride], or empty
  std::uint64_t mask_stride = 0;
  /// q, out and lse are an engine's, in the device's memory: see AttendSequence. The mask is not.
  bool on_device = false;
};

/// K and V of one attention layer: sealed pages, raw pages, equaliser. Arguments are checked by
/// Cache. Every query at position p in page P sees page 0, P - 1 and P raw and pages between
/// sealed, however the tokens were cut into calls.
class LayerCache {
 public:
  static Result<LayerCache> create(Device& device, const CacheOptions& options,
                                   std::uint32_t index);
  /// A layer that is to be restored: without memory for rows until allocate().
  static LayerCache create_empty(const CacheOptions& options, std::uint32_t index);
  Result<> allocate(Device& device) { return raw_.allocate(device); }

  const LayerSpec& spec() const { return spec_; }
  std::uint64_t n_token() const { return n_token_; }
  const KeyEqualiser& equaliser() const { return equaliser_; }
  RowType row_type() const { return raw_.type(); }
  /// Raw pages kept beside the first.
  std::uint32_t n_ring() const { return raw_.n_ring(); }

  /// The least page >= 1 whose rows are still raw; page 0 always is (but under RawPolicy::none).
  std::uint64_t raw_begin() const { return raw_begin_; }
  /// Pages [0, n) are sealed, all rows from page n on are raw.
  std::uint64_t n_sealed_page() const;

  Result<> append(Device& device, const RowsView& keys, const RowsView& values);
  Result<> append_attend(Device& device, const RowsView& keys, const RowsView& values,
                         const AttendRequest& request);
  Result<> attend(Device& device, const AttendRequest& request);

  /// Whether the rows that a query at `position` sees raw are still raw.
  bool can_attend_from(std::uint64_t position) const;
  /// The greatest position <= n_token this layer can go back to; *exact as in Kept.
  std::uint64_t resumable_at(std::uint64_t n_token, bool* exact) const;
  /// pre: resumable_at(n_token) == n_token
  void truncate(std::uint64_t n_token);
  Result<LayerCache> clone(Device& device) const;

  /// Bytes and formats of a sealed page (page 0, and pages of sliding windows: its raw blocks).
  Result<> read_segment(Device& device, std::uint64_t page, std::vector<std::byte>& bytes,
                        SegmentFormats& formats) const;
  /// One block as it stands now; rows that do not exist are zero.
  Result<BlockFormat> read_block(Device& device, std::uint64_t page, Side side,
                                 std::uint32_t kv_head, std::vector<std::byte>& bytes) const;
  /// Raw rows [first, first + n), verbatim. pre: they are raw
  Result<> read_raw_rows(Device& device, Side side, std::uint64_t first, std::uint64_t n,
                         std::span<std::byte> target) const;
  /// Any rows, in any row type.
  Result<> read_rows(Device& device, const RowsRead& read) const;
  bool is_raw_now(std::uint64_t page) const;
  /// Fixes the equaliser where it is due: once the first 256 tokens are there.
  Result<> settle_equaliser(Device& device);
  std::uint64_t stored_size_bytes() const;

  // For restoring: puts parts in place.
  /// Whether this page's segment is kept as it is stored; else its raw blocks become raw pages.
  bool keeps_segment(std::uint64_t page) const {
    return keeps_segments() && (page != 0 || raw_policy_ != RawPolicy::sink_and_tail);
  }
  Result<> restore_segment(Device& device, std::uint64_t page, Segment segment,
                           std::span<const std::byte> raw_bytes);
  Result<> restore_rows(Device& device, Side side, std::uint64_t first, const RowsView& rows);
  void restore_equaliser(std::span<const Half> vector) { equaliser_.fix(vector); }
  void restore_energy(std::span<const float> energy) { equaliser_.restore_energy(energy); }
  void restore_position(std::uint64_t n_token, std::uint64_t raw_begin);
  /// Seals what is sealed by its position and not yet sealed. pre: the rows of these pages are raw
  Result<> seal_due_pages(Device& device);
  bool has_segment(std::uint64_t page) const;

 private:
  LayerCache(const LayerSpec& spec, const CacheOptions& options, std::uint32_t index, RawPages raw);

  Result<> append_piece(Device& device, const RowsView& keys, const RowsView& values);
  Result<> attend_piece(Device& device, const AttendRequest& request, std::int64_t q_position,
                        std::uint64_t raw_page, std::uint64_t n_visible);
  Result<> observe(Device& device, const AttendRequest& request);
  AttendRequest part(const AttendRequest& request, std::uint32_t first, std::uint32_t count) const;
  std::uint32_t head_dim(Side side) const {
    return side == Side::key ? spec_.key_head_dim : spec_.value_head_dim;
  }
  std::vector<BlockRef> sealed_blocks(std::uint64_t page, Side side,
                                      std::uint32_t buffer_index) const;
  Result<> read_raw_page(Device& device, const RowsRead& read) const;
  Result<> read_coded_pages(Device& device, const RowsRead& read) const;
  std::uint64_t end_of_batch(const RowsRead& read) const;
  bool is_coded(std::uint64_t page, Side side) const;
  Result<Segment> encode_segment(Device& device, std::uint64_t page);
  Result<Segment> place_segment(Device& device, std::uint64_t page, const SegmentFormats& formats,
                                bool* all_fit);
  Result<> encode_side(Device& device, std::uint64_t page, Side side, const Segment& target,
                       Buffer& buffer, std::vector<EncodeOutcome>& outcomes);
  Result<> copy_raw_blocks(Device& device, std::uint64_t page, const Segment& target,
                           Buffer& buffer);
  SegmentFormats wanted_formats() const;
  bool keeps_segments() const { return spec_.kind == LayerKind::full_attention; }

  LayerSpec spec_;
  RawPolicy raw_policy_;
  ScaleRule scale_rule_;
  bool centre_keys_;
  bool centre_values_;
  std::uint64_t n_token_ = 0;
  std::uint64_t raw_begin_ = 1;
  RawPages raw_;
  KeyEqualiser equaliser_;
  std::vector<std::shared_ptr<const Segment>> segments_;  ///< [page], null where not sealed
};

}  // namespace kvault
