#include <algorithm>

#include "core/base/assert.hpp"
#include "core/cache/layer_cache.hpp"

// Sealing: raw pages become coded segments.

namespace kvault {

SegmentFormats LayerCache::wanted_formats() const {
  const auto format = [this](Scheme scheme, bool centred) {
    return scheme == Scheme::raw ? BlockFormat::raw(raw_.type())
                                 : BlockFormat::coded(scheme, centred);
  };
  SegmentFormats formats(spec_.n_kv_head, format(spec_.key_scheme, centre_keys_));
  formats.resize(std::size_t{spec_.n_kv_head} * 2, format(spec_.value_scheme, centre_values_));
  return formats;
}

Result<> LayerCache::settle_equaliser(Device& device) {
  if (equaliser_.is_fixed() || n_token_ < kLearnTokens) return {};
  std::vector<std::byte> bytes(kLearnTokens * spec_.n_kv_head * spec_.key_head_dim *
                               size_bytes_of(raw_.type()));
  KVAULT_CHECK(read_raw_rows(device, Side::key, 0, kLearnTokens, bytes));
  equaliser_.learn(RowsView::dense(bytes.data(), raw_.type(),
                                   static_cast<std::uint32_t>(kLearnTokens), spec_.n_kv_head,
                                   spec_.key_head_dim));
  return {};
}

Result<> LayerCache::seal_due_pages(Device& device) {
  if (!keeps_segments()) return {};
  const std::uint64_t n_due = n_sealed_page();
  while (segments_.size() < n_due) {
    const std::uint64_t page = segments_.size();
    if (page == 0 && raw_policy_ == RawPolicy::sink_and_tail) {
      segments_.push_back(nullptr);  // the sink: raw for ever, in the raw pages
      continue;
    }
    KVAULT_CHECK(settle_equaliser(device));
    KVAULT_TRY(Segment segment, encode_segment(device, page));
    segments_.push_back(std::make_shared<const Segment>(std::move(segment)));
  }
  return {};
}

/// A block whose scale or mean exceeds binary16 is kept raw; the others are coded.
Result<Segment> LayerCache::encode_segment(Device& device, std::uint64_t page) {
  SegmentFormats formats = wanted_formats();
  for (int attempt = 0; attempt < 2; ++attempt) {
    const Segment plan = Segment::at(spec_, nullptr, 0, formats);
    KVAULT_TRY(std::unique_ptr<Buffer> buffer, device.allocate({.size_bytes = plan.size_bytes}));
    std::vector<EncodeOutcome> outcomes(formats.size(), EncodeOutcome::coded);
    KVAULT_CHECK(encode_side(device, page, Side::key, plan, *buffer, outcomes));
    KVAULT_CHECK(encode_side(device, page, Side::value, plan, *buffer, outcomes));
    bool all_fit = true;
    for (std::size_t i = 0; i < formats.size(); ++i) {
      if (outcomes[i] == EncodeOutcome::coded) continue;
      formats[i] = BlockFormat::raw(raw_.type());
      all_fit = false;
    }
    if (!all_fit) continue;
    KVAULT_CHECK(copy_raw_blocks(device, page, plan, *buffer));
    return Segment::at(spec_, std::shared_ptr<const Buffer>(std::move(buffer)), 0,
                       std::move(formats));
  }
  return fail(Errc::internal, message("page ", page, ": a block fitted and then did not"));
}

Result<> LayerCache::encode_side(Device& device, std::uint64_t page, Side side,
                                 const Segment& target, Buffer& buffer,
                                 std::vector<EncodeOutcome>& outcomes) {
  const bool is_key = side == Side::key;
  const std::uint32_t first = is_key ? 0 : spec_.n_kv_head;
  const std::uint32_t dim = is_key ? spec_.key_head_dim : spec_.value_head_dim;
  std::vector<EncodeBlock> blocks;
  std::vector<std::uint32_t> places;
  std::vector<Half> equaliser;
  for (std::uint32_t head = 0; head < spec_.n_kv_head; ++head) {
    const std::uint32_t place = first + head;
    if (target.formats[place].is_raw()) continue;
    blocks.push_back(
        {raw_.block(page, side, head, 0), {target.block_offsets[place], 1, target.formats[place]}});
    places.push_back(place);
    if (is_key && !equaliser_.vector().empty()) {
      const std::span<const Half> e = equaliser_.vector().subspan(std::size_t{head} * dim, dim);
      equaliser.insert(equaliser.end(), e.begin(), e.end());
    }
  }
  if (blocks.empty()) return {};
  Buffer* const buffers[] = {&raw_.buffer(), &buffer};
  std::vector<EncodeOutcome> results(blocks.size());
  const EncodeArgs args = {
      .side = side,
      .head_dim = dim,
      .scale_rule = scale_rule_,
      .buffers = buffers,
      .blocks = blocks,
      .equaliser = equaliser,
      .outcomes = results,
  };
  KVAULT_TRY(const Ticket ticket, device.encode(args));
  KVAULT_CHECK(device.wait(ticket));
  for (std::size_t i = 0; i < places.size(); ++i) outcomes[places[i]] = results[i];
  return {};
}

Result<> LayerCache::copy_raw_blocks(Device& device, std::uint64_t page, const Segment& target,
                                     Buffer& buffer) {
  std::vector<std::byte> bytes;
  for (std::uint32_t i = 0; i < target.formats.size(); ++i) {
    if (!target.formats[i].is_raw()) continue;
    const bool is_key = i < spec_.n_kv_head;
    const std::uint32_t dim = is_key ? spec_.key_head_dim : spec_.value_head_dim;
    const BlockRef source =
        raw_.block(page, is_key ? Side::key : Side::value, is_key ? i : i - spec_.n_kv_head, 0);
    bytes.resize(BlockLayout::of(source.format, dim).size_bytes);
    KVAULT_TRY(const Ticket read, device.download(raw_.buffer(), source.offset_bytes, bytes));
    KVAULT_CHECK(device.wait(read));
    KVAULT_TRY(const Ticket written, device.upload(buffer, target.block_offsets[i], bytes));
    KVAULT_CHECK(device.wait(written));
  }
  return {};
}

}  // namespace kvault
