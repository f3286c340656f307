#include <algorithm>
#include <cstring>

#include "core/base/assert.hpp"
#include "core/cache/layer_cache.hpp"

// Reading a layer back, and putting a stored one in place.

namespace kvault {
namespace {

/// Pages are decoded several at once: a device's threads need more than the heads of one. The lists
/// of what is decoded stay small beside it.
constexpr std::uint64_t kBatchBytes = std::uint64_t{16} << 20U;

float load_float(const std::byte* at, RowType type) {
  if (type == RowType::f32) {
    float value = 0;
    std::memcpy(&value, at, 4);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, 2);
  return type == RowType::f16 ? to_float(Half{bits}) : to_float(BFloat16{bits});
}

void store_float(float value, RowType type, std::byte* at) {
  if (type == RowType::f32) {
    std::memcpy(at, &value, 4);
    return;
  }
  const std::uint16_t bits = type == RowType::f16 ? to_half(value).bits : to_bfloat16(value).bits;
  std::memcpy(at, &bits, 2);
}

/// Elements of one type as another; bytes where they are the same.
void convert(std::span<const std::byte> source, RowType from, RowType to,
             std::span<std::byte> target) {
  if (from == to) {
    std::copy(source.begin(), source.end(), target.begin());
    return;
  }
  const std::size_t n = source.size() / size_bytes_of(from);
  KVAULT_ASSERT(target.size() == n * size_bytes_of(to));
  for (std::size_t i = 0; i < n; ++i) {
    store_float(load_float(source.data() + i * size_bytes_of(from), from), to,
                target.data() + i * size_bytes_of(to));
  }
}

/// An app's memory may lie anywhere.
bool is_aligned(const RowsRead& read) {
  return reinterpret_cast<std::uintptr_t>(read.target.data()) % size_bytes_of(read.type) == 0;
}

/// Of the history, which is sealed, the rows are there as they came.
bool reads_raw(RawPolicy policy, std::uint64_t page, std::uint64_t raw_begin) {
  return policy == RawPolicy::sink_and_tail && page >= raw_begin;
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
  const std::size_t token_bytes =
      std::size_t{spec_.n_kv_head} * head_dim(side) * size_bytes_of(raw_.type());
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

/// The blocks of one side of a sealed page.
std::vector<BlockRef> LayerCache::sealed_blocks(std::uint64_t page, Side side,
                                                std::uint32_t buffer_index) const {
  const Segment& segment = *segments_[page];
  std::vector<BlockRef> blocks;
  for (std::uint32_t head = 0; head < spec_.n_kv_head; ++head) {
    const std::uint32_t index = side == Side::key ? head : spec_.n_kv_head + head;
    blocks.push_back({segment.block_offsets[index], buffer_index, segment.formats[index]});
  }
  return blocks;
}

/// Rows of one page that are raw: in the raw pages, or sealed as they were, of any head_dim.
Result<> LayerCache::read_raw_page(Device& device, const RowsRead& read) const {
  const std::uint64_t page = read.first / kPageTokens;
  if (!has_segment(page) || reads_raw(raw_policy_, page, raw_begin_)) {
    if (raw_.type() == read.type) {
      return read_raw_rows(device, read.side, read.first, read.n, read.target);
    }
    const std::size_t n_element = read.target.size() / size_bytes_of(read.type);
    std::vector<std::byte> bytes(n_element * size_bytes_of(raw_.type()));
    KVAULT_CHECK(read_raw_rows(device, read.side, read.first, read.n, bytes));
    convert(bytes, raw_.type(), read.type, read.target);
    return {};
  }
  const std::vector<BlockRef> blocks = sealed_blocks(page, read.side, 0);
  const std::uint32_t dim = head_dim(read.side);
  const std::size_t row_bytes = dim * size_bytes_of(raw_.type());
  const std::size_t target_bytes = dim * size_bytes_of(read.type);
  std::vector<std::byte> rows(read.n * row_bytes);
  for (std::size_t head = 0; head < blocks.size(); ++head) {
    const std::uint64_t offset_bytes =
        blocks[head].offset_bytes + read.first % kPageTokens * row_bytes;
    KVAULT_TRY(const Ticket ticket, device.download(*segments_[page]->buffer, offset_bytes, rows));
    KVAULT_CHECK(device.wait(ticket));
    for (std::size_t i = 0; i < read.n; ++i) {
      convert(std::span(rows).subspan(i * row_bytes, row_bytes), blocks[head].format.row_type(),
              read.type,
              read.target.subspan((i * blocks.size() + head) * target_bytes, target_bytes));
    }
  }
  return {};
}

/// Rows of consecutive sealed pages, decoded together: where they lie in the end, if these are
/// whole pages.
Result<> LayerCache::read_coded_pages(Device& device, const RowsRead& read) const {
  const std::uint32_t dim = head_dim(read.side);
  const std::size_t token_bytes = std::size_t{spec_.n_kv_head} * dim * size_bytes_of(read.type);
  const std::uint64_t first_page = read.first / kPageTokens;
  const std::uint64_t n_page = (read.first + read.n - 1) / kPageTokens - first_page + 1;
  const bool is_equalised = read.side == Side::key && !equaliser_.vector().empty();
  std::vector<const Buffer*> buffers;
  std::vector<BlockRef> blocks;
  std::vector<Half> equaliser;
  for (std::uint32_t i = 0; i < n_page; ++i) {
    buffers.push_back(segments_[first_page + i]->buffer.get());
    const std::vector<BlockRef> more = sealed_blocks(first_page + i, read.side, i);
    blocks.insert(blocks.end(), more.begin(), more.end());
    if (!is_equalised) continue;
    const std::span<const Half> vector = equaliser_.vector();
    equaliser.insert(equaliser.end(), vector.begin(), vector.end());
  }
  const bool is_in_place = read.n == n_page * kPageTokens && is_aligned(read);
  std::vector<std::byte> pages(is_in_place ? 0 : n_page * kPageTokens * token_bytes);
  KVAULT_TRY(const Ticket ticket,
             device.reconstruct({.side = read.side,
                                 .head_dim = dim,
                                 .n_head = spec_.n_kv_head,
                                 .buffers = buffers,
                                 .blocks = blocks,
                                 .equaliser = equaliser,
                                 .row_type = read.type,
                                 .rows = is_in_place ? read.target : std::span(pages)}));
  KVAULT_CHECK(device.wait(ticket));
  if (is_in_place) return {};
  std::memcpy(read.target.data(), pages.data() + read.first % kPageTokens * token_bytes,
              read.target.size());
  return {};
}

/// The end of what can be read with the page of read.first: whole coded pages go together, up to a
/// batch.
std::uint64_t LayerCache::end_of_batch(const RowsRead& read) const {
  const auto is_whole_coded = [&](std::uint64_t page) {
    return read.first <= page * kPageTokens && (page + 1) * kPageTokens <= read.first + read.n &&
           is_coded(page, read.side);
  };
  const std::size_t token_bytes =
      std::size_t{spec_.n_kv_head} * head_dim(read.side) * size_bytes_of(read.type);
  const std::uint64_t n_page_max =
      std::max<std::uint64_t>(1, kBatchBytes / (kPageTokens * token_bytes));
  const std::uint64_t page = read.first / kPageTokens;
  std::uint64_t end_page = page + 1;
  if (is_whole_coded(page)) {
    while (end_page < page + n_page_max && is_whole_coded(end_page)) ++end_page;
  }
  return std::min(end_page * kPageTokens, read.first + read.n);
}

/// Whether the rows are there in codes alone.
bool LayerCache::is_coded(std::uint64_t page, Side side) const {
  if (!has_segment(page) || reads_raw(raw_policy_, page, raw_begin_)) return false;
  const auto formats = std::span(segments_[page]->formats)
                           .subspan(side == Side::key ? 0 : spec_.n_kv_head, spec_.n_kv_head);
  return std::any_of(formats.begin(), formats.end(),
                     [](BlockFormat format) { return !format.is_raw(); });
}

Result<> LayerCache::read_rows(Device& device, const RowsRead& read) const {
  const std::size_t token_bytes =
      std::size_t{spec_.n_kv_head} * head_dim(read.side) * size_bytes_of(read.type);
  KVAULT_ASSERT(read.target.size() == read.n * token_bytes);
  RowsRead rest = read;
  while (rest.n > 0) {
    const std::uint64_t n = end_of_batch(rest) - rest.first;
    const RowsRead part{rest.side, rest.first, n, rest.type, rest.target.first(n * token_bytes)};
    KVAULT_CHECK(is_coded(part.first / kPageTokens, part.side) ? read_coded_pages(device, part)
                                                               : read_raw_page(device, part));
    rest = {rest.side, rest.first + n, rest.n - n, rest.type, rest.target.subspan(n * token_bytes)};
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
