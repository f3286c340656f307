#include <algorithm>
#include <cstring>

#include "core/base/assert.hpp"
#include "core/cache/layer_cache.hpp"

// Reading a layer back, and putting a stored one in place.

namespace kvault {
namespace {

void widen(std::span<const std::byte> source, RowType type, std::span<float> target) {
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (type == RowType::f32) {
      std::memcpy(&target[i], source.data() + i * 4, 4);
    } else {
      std::uint16_t bits = 0;
      std::memcpy(&bits, source.data() + i * 2, 2);
      target[i] = type == RowType::f16 ? to_float(Half{bits}) : to_float(BFloat16{bits});
    }
  }
}

}  // namespace

Result<> LayerCache::read_segment(Device& device, std::uint64_t page, std::vector<std::byte>& bytes,
                                  SegmentFormats& formats) const {
  const Buffer* buffer = &raw_.buffer();
  std::uint64_t offset_bytes = raw_.slot_offset_bytes(page);
  std::uint64_t size_bytes = raw_.slot_size_bytes();
  formats.assign(std::size_t{spec_.n_kv_head} * 2, BlockFormat::raw(raw_.type()));
  if (has_segment(page)) {
    buffer = segments_[page]->buffer.get();
    offset_bytes = segments_[page]->offset_bytes;
    size_bytes = segments_[page]->size_bytes;
    formats = segments_[page]->formats;
  } else {
    KVAULT_ASSERT(page == 0 || page >= raw_begin_);
  }
  bytes.resize(size_bytes);
  KVAULT_TRY(const Ticket ticket, device.download(*buffer, offset_bytes, bytes));
  return device.wait(ticket);
}

Result<BlockFormat> LayerCache::read_block(Device& device, std::uint64_t page, Side side,
                                           std::uint32_t kv_head,
                                           std::vector<std::byte>& bytes) const {
  const bool is_key = side == Side::key;
  const std::uint32_t dim = is_key ? spec_.key_head_dim : spec_.value_head_dim;
  const Buffer* buffer = &raw_.buffer();
  BlockRef ref = raw_.block(page, side, kv_head, 0);
  if (has_segment(page)) {
    const std::uint32_t index = is_key ? kv_head : spec_.n_kv_head + kv_head;
    buffer = segments_[page]->buffer.get();
    ref = {segments_[page]->block_offsets[index], 0, segments_[page]->formats[index]};
  }
  bytes.resize(BlockLayout::of(ref.format, dim).size_bytes);
  KVAULT_TRY(const Ticket ticket, device.download(*buffer, ref.offset_bytes, bytes));
  KVAULT_CHECK(device.wait(ticket));
  if (ref.format.is_raw()) {
    const std::uint64_t n_valid =
        std::min<std::uint64_t>(kPageTokens, n_token_ - page * kPageTokens);
    const std::uint64_t valid_bytes = n_valid * dim * size_bytes_of(ref.format.row_type());
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(valid_bytes), bytes.end(), std::byte{0});
  }
  return ref.format;
}

Result<> LayerCache::read_raw_rows(Device& device, Side side, std::uint64_t first, std::uint64_t n,
                                   std::span<std::byte> target) const {
  const std::uint32_t dim = side == Side::key ? spec_.key_head_dim : spec_.value_head_dim;
  const std::size_t token_bytes = std::size_t{spec_.n_kv_head} * dim * size_bytes_of(raw_.type());
  KVAULT_ASSERT(first + n <= n_token_ && target.size() == n * token_bytes);
  for (std::uint64_t done = 0; done < n;) {
    const std::uint64_t page = (first + done) / kPageTokens;
    const auto token = static_cast<std::uint32_t>((first + done) % kPageTokens);
    const auto count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(kPageTokens - token, n - done));
    KVAULT_ASSERT(page == 0 || page >= raw_begin_);
    KVAULT_CHECK(raw_.read(device, page, token, count, side,
                           target.subspan(done * token_bytes, count * token_bytes)));
    done += count;
  }
  return {};
}

/// Rows from `first` on of blocks that were sealed as they were. target: [n][block][dim]
Result<> LayerCache::read_raw_blocks(Device& device, const Segment& segment,
                                     std::span<const BlockRef> blocks, std::uint32_t dim,
                                     std::uint64_t first, std::span<float> target) const {
  const std::size_t n = target.size() / (blocks.size() * dim);
  const std::size_t row_bytes = dim * size_bytes_of(raw_.type());
  std::vector<std::byte> bytes(n * row_bytes);
  std::vector<float> rows(n * dim);
  for (std::size_t head = 0; head < blocks.size(); ++head) {
    KVAULT_TRY(
        const Ticket ticket,
        device.download(*segment.buffer, blocks[head].offset_bytes + first * row_bytes, bytes));
    KVAULT_CHECK(device.wait(ticket));
    widen(bytes, blocks[head].format.row_type(), rows);
    for (std::size_t i = 0; i < n; ++i) {
      std::copy_n(rows.data() + i * dim, dim, target.data() + (i * blocks.size() + head) * dim);
    }
  }
  return {};
}

Result<> LayerCache::read_rows(Device& device, Side side, std::uint64_t first, std::uint64_t n,
                               std::span<float> target) const {
  const bool is_key = side == Side::key;
  const std::uint32_t dim = is_key ? spec_.key_head_dim : spec_.value_head_dim;
  const std::size_t token_size = std::size_t{spec_.n_kv_head} * dim;
  KVAULT_ASSERT(target.size() == n * token_size);
  std::vector<float> rows(token_size * kPageTokens);
  for (std::uint64_t done = 0; done < n;) {
    const std::uint64_t page = (first + done) / kPageTokens;
    const std::uint64_t token = (first + done) % kPageTokens;
    const std::uint64_t count = std::min(kPageTokens - token, n - done);
    const std::span<float> part = target.subspan(done * token_size, count * token_size);
    done += count;
    if (!has_segment(page)) {
      std::vector<std::byte> bytes(part.size() * size_bytes_of(raw_.type()));
      KVAULT_CHECK(read_raw_rows(device, side, page * kPageTokens + token, count, bytes));
      widen(bytes, raw_.type(), part);
      continue;
    }
    const Segment& segment = *segments_[page];
    std::vector<BlockRef> blocks;
    for (std::uint32_t head = 0; head < spec_.n_kv_head; ++head) {
      const std::uint32_t index = is_key ? head : spec_.n_kv_head + head;
      blocks.push_back({segment.block_offsets[index], 0, segment.formats[index]});
    }
    const bool is_raw = std::all_of(blocks.begin(), blocks.end(),
                                    [](const BlockRef& block) { return block.format.is_raw(); });
    if (is_raw) {  // nothing to decode, of any head_dim
      KVAULT_CHECK(read_raw_blocks(device, segment, blocks, dim, token, part));
      continue;
    }
    const Buffer* const buffers[] = {segment.buffer.get()};
    const ReconstructArgs args = {
        .side = side,
        .head_dim = dim,
        .buffers = buffers,
        .blocks = blocks,
        .equaliser = is_key ? equaliser_.vector() : std::span<const Half>(),
        .row_type = RowType::f32,
        .rows = std::as_writable_bytes(std::span(rows)),
    };
    KVAULT_TRY(const Ticket ticket, device.reconstruct(args));
    KVAULT_CHECK(device.wait(ticket));
    for (std::uint64_t i = 0; i < count; ++i) {
      for (std::uint32_t head = 0; head < spec_.n_kv_head; ++head) {
        const float* const source = rows.data() + (head * kPageTokens + token + i) * dim;
        std::copy_n(source, dim, part.data() + (i * spec_.n_kv_head + head) * dim);
      }
    }
  }
  return {};
}

std::uint64_t LayerCache::stored_size_bytes() const {
  std::uint64_t size_bytes = 0;
  for (const auto& segment : segments_) {
    if (segment != nullptr) size_bytes += segment->size_bytes;
  }
  const std::uint64_t token_bytes = std::uint64_t{spec_.n_kv_head} *
                                    (spec_.key_head_dim + spec_.value_head_dim) *
                                    size_bytes_of(raw_.type());
  std::uint64_t n_raw_token = std::min<std::uint64_t>(n_token_, kPageTokens);
  if (has_segment(0)) n_raw_token = 0;
  const std::uint64_t raw_from =
      std::max<std::uint64_t>(kPageTokens, n_sealed_page() * kPageTokens);
  if (keeps_segments() && n_token_ > raw_from) n_raw_token += n_token_ - raw_from;
  if (!keeps_segments()) n_raw_token = std::min<std::uint64_t>(n_token_, spec_.window);
  return size_bytes + n_raw_token * token_bytes;
}

Result<> LayerCache::restore_segment(Device& device, std::uint64_t page, Segment segment,
                                     std::span<const std::byte> raw_bytes) {
  const bool is_kept = keeps_segment(page);
  if (!is_kept) {
    KVAULT_ASSERT(raw_bytes.size() == raw_.slot_size_bytes());
    KVAULT_CHECK(device.upload(raw_.buffer(), raw_.slot_offset_bytes(page), raw_bytes));
  }
  if (!keeps_segments()) return {};
  if (segments_.size() <= page) segments_.resize(page + 1);
  segments_[page] = is_kept ? std::make_shared<const Segment>(std::move(segment)) : nullptr;
  return {};
}

Result<> LayerCache::restore_rows(Device& device, Side side, std::uint64_t first,
                                  const RowsView& rows) {
  for (std::uint32_t done = 0; done < rows.n_token;) {
    const std::uint64_t page = (first + done) / kPageTokens;
    const auto token = static_cast<std::uint32_t>((first + done) % kPageTokens);
    const std::uint32_t count = std::min(kPageTokens - token, rows.n_token - done);
    KVAULT_CHECK(raw_.write(device, page, token, side, rows.part(done, count)));
    done += count;
  }
  return {};
}

void LayerCache::restore_position(std::uint64_t n_token, std::uint64_t raw_begin) {
  n_token_ = n_token;
  raw_begin_ = std::max<std::uint64_t>(1, raw_begin);
}

}  // namespace kvault
