#include "core/cache/layer_cache.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/assert.hpp"
#include "core/device/engine_memory.hpp"

namespace kvault {
namespace {

/// Raw pages kept beside the first: the open one, the full one before it (the tail), and one of
/// history, so that a rollback to any position of the tail finds the rows it needs.
constexpr std::uint32_t kTailRing = 3;

std::uint32_t ring_size(const LayerSpec& spec) {
  if (spec.kind != LayerKind::sliding_window) return kTailRing;
  return (spec.window + kPageTokens - 1) / kPageTokens + kTailRing;
}

}  // namespace

LayerCache::LayerCache(const LayerSpec& spec, const CacheOptions& options, std::uint32_t index,
                       RawPages raw)
    : spec_(spec),
      raw_policy_(spec.kind == LayerKind::full_attention ? options.raw_policy
                                                         : RawPolicy::sink_and_tail),
      scale_rule_(options.scale_rule),
      centre_keys_(options.centre_keys),
      centre_values_(options.centre_values),
      raw_(std::move(raw)),
      equaliser_(spec, options.equalise,
                 options.equalise == Equalise::given ? std::span(options.equalisers[index])
                                                     : std::span<const Half>()) {}

Result<LayerCache> LayerCache::create(Device& device, const CacheOptions& options,
                                      std::uint32_t index) {
  LayerCache layer = create_empty(options, index);
  KVAULT_CHECK(layer.allocate(device));
  return layer;
}

LayerCache LayerCache::create_empty(const CacheOptions& options, std::uint32_t index) {
  const LayerSpec& spec = options.shape.layers[index];
  return LayerCache(spec, options, index, RawPages(spec, options.shape.row_type, ring_size(spec)));
}

std::uint64_t LayerCache::n_sealed_page() const {
  const std::uint64_t by_position = n_sealed_page_at(n_token_, raw_policy_);
  if (raw_policy_ == RawPolicy::none || raw_begin_ <= 1 || !keeps_segments()) return by_position;
  return std::max(by_position, raw_begin_);
}

bool LayerCache::has_segment(std::uint64_t page) const {
  return page < segments_.size() && segments_[page] != nullptr;
}

bool LayerCache::is_raw_now(std::uint64_t page) const { return !has_segment(page); }

Result<> LayerCache::append(Device& device, const RowsView& keys, const RowsView& values) {
  KVAULT_CHECK(seal_due_pages(device));
  for (std::uint32_t done = 0; done < keys.n_token;) {
    const auto room = static_cast<std::uint32_t>(kPageTokens - n_token_ % kPageTokens);
    const std::uint32_t count = std::min(room, keys.n_token - done);
    KVAULT_CHECK(append_piece(device, keys.part(done, count), values.part(done, count)));
    KVAULT_CHECK(seal_due_pages(device));
    done += count;
  }
  return {};
}

Result<> LayerCache::append_attend(Device& device, const RowsView& keys, const RowsView& values,
                                   const AttendRequest& request) {
  KVAULT_CHECK(seal_due_pages(device));
  for (std::uint32_t done = 0; done < keys.n_token;) {
    const auto room = static_cast<std::uint32_t>(kPageTokens - n_token_ % kPageTokens);
    const std::uint32_t count = std::min(room, keys.n_token - done);
    KVAULT_CHECK(append_piece(device, keys.part(done, count), values.part(done, count)));
    KVAULT_CHECK(attend(device, part(request, done, count)));
    KVAULT_CHECK(seal_due_pages(device));
    done += count;
  }
  return {};
}

/// pre: the rows stay within one page
Result<> LayerCache::append_piece(Device& device, const RowsView& keys, const RowsView& values) {
  const std::uint64_t page = n_token_ / kPageTokens;
  const auto token = static_cast<std::uint32_t>(n_token_ % kPageTokens);
  if (token == 0 && page >= raw_.n_ring()) {
    raw_begin_ = std::max(raw_begin_, page + 1 - raw_.n_ring());
  }
  KVAULT_CHECK(raw_.write(device, page, token, Side::key, keys));
  KVAULT_CHECK(raw_.write(device, page, token, Side::value, values));
  n_token_ += keys.n_token;
  return {};
}

Result<> LayerCache::attend(Device& device, const AttendRequest& request) {
  KVAULT_CHECK(seal_due_pages(device));
  if (request.causal && n_token_ >= request.n_q) KVAULT_CHECK(observe(device, request));
  const std::int64_t first_position = std::int64_t(n_token_) - std::int64_t{request.n_q};
  if (!request.causal || raw_policy_ == RawPolicy::none) {
    return attend_piece(device, request, first_position, n_sealed_page(), n_token_);
  }
  for (std::uint32_t done = 0; done < request.n_q;) {
    const std::int64_t position = first_position + done;
    // Queries before the first token see nothing; the others what their own page sees.
    const std::uint64_t page = position < 0 ? 0 : std::uint64_t(position) / kPageTokens;
    const std::uint64_t n_visible = position < 0 ? 0 : std::min(n_token_, (page + 1) * kPageTokens);
    const std::int64_t n_left = std::int64_t{request.n_q} - done;
    const auto count =
        static_cast<std::uint32_t>(std::min(std::int64_t(n_visible) - position, n_left));
    const std::uint64_t raw_page = std::max(page > 0 ? page - 1 : 0, raw_begin_);
    KVAULT_CHECK(attend_piece(device, part(request, done, count), position, raw_page, n_visible));
    done += count;
  }
  return {};
}

/// The equaliser learns on the host: queries of the first tokens are read back to it.
Result<> LayerCache::observe(Device& device, const AttendRequest& request) {
  const std::uint64_t position = n_token_ - request.n_q;
  if (!equaliser_.learns_from(position)) return {};
  if (!request.on_device) {
    equaliser_.observe(position, request.n_q, request.q);
    return {};
  }
  std::vector<float> q(request.q.size());
  KVAULT_CHECK(
      device.engine_memory()->read(request.q.data(), std::as_writable_bytes(std::span(q))));
  equaliser_.observe(position, request.n_q, q);
  return {};
}

bool LayerCache::can_attend_from(std::uint64_t position) const {
  const std::uint64_t page = position / kPageTokens;
  const auto is_raw = [this](std::uint64_t p) { return p == 0 || p >= raw_begin_; };
  if (spec_.kind == LayerKind::sliding_window) {
    const std::uint64_t first =
        position + 1 > spec_.window ? (position + 1 - spec_.window) / kPageTokens : 0;
    return is_raw(first) && is_raw(std::max<std::uint64_t>(first, 1));
  }
  if (raw_policy_ == RawPolicy::none || page == 0) return true;
  if (!is_raw(page)) return false;
  // After a rollback to a page boundary the page before it is sealed for good; otherwise a page
  // that has left the ring was raw for the queries of the page behind it.
  const std::uint64_t last_page = (n_token_ - 1) / kPageTokens;
  const bool has_left_ring = raw_begin_ + raw_.n_ring() == last_page + 1;
  return is_raw(page - 1) || !has_left_ring;
}

AttendRequest LayerCache::part(const AttendRequest& request, std::uint32_t first,
                               std::uint32_t count) const {
  const std::size_t q_size = std::size_t{spec_.n_head} * spec_.key_head_dim;
  const std::size_t out_size = std::size_t{spec_.n_head} * spec_.value_head_dim;
  AttendRequest piece = request;
  piece.n_q = count;
  piece.q = request.q.subspan(first * q_size, count * q_size);
  piece.out = request.out.subspan(first * out_size, count * out_size);
  if (!request.lse.empty()) {
    piece.lse =
        request.lse.subspan(std::size_t{first} * spec_.n_head, std::size_t{count} * spec_.n_head);
  }
  if (!request.mask.empty()) piece.mask = request.mask.subspan(first * request.mask_stride);
  return piece;
}

/// Attends over keys [0, n_visible): page 0 and pages from raw_page on raw, the others sealed.
Result<> LayerCache::attend_piece(Device& device, const AttendRequest& request,
                                  std::int64_t q_position, std::uint64_t raw_page,
                                  std::uint64_t n_visible) {
  const bool slides = spec_.kind == LayerKind::sliding_window;
  const std::uint64_t n_page = (n_visible + kPageTokens - 1) / kPageTokens;
  std::uint32_t window = request.window;
  if (slides) window = window == 0 ? spec_.window : std::min(window, spec_.window);
  std::uint64_t first_page = 0;
  if (slides && q_position + 1 > static_cast<std::int64_t>(window)) {
    first_page = static_cast<std::uint64_t>(q_position + 1 - window) / kPageTokens;
  }
  std::vector<const Buffer*> buffers = {&raw_.buffer()};
  std::vector<PageRef> pages;
  pages.reserve((n_page - std::min(first_page, n_page)) * spec_.n_kv_head);
  for (std::uint64_t page = first_page; page < n_page; ++page) {
    const bool is_raw = slides || page >= raw_page || !has_segment(page);
    KVAULT_ASSERT(!is_raw || page == 0 || page >= raw_begin_);
    if (!is_raw && buffers.back() != segments_[page]->buffer.get()) {
      buffers.push_back(segments_[page]->buffer.get());
    }
    const auto index = static_cast<std::uint32_t>(buffers.size() - 1);
    for (std::uint32_t head = 0; head < spec_.n_kv_head; ++head) {
      if (is_raw) {
        pages.push_back(
            {raw_.block(page, Side::key, head, 0), raw_.block(page, Side::value, head, 0)});
        continue;
      }
      const Segment& segment = *segments_[page];
      const std::uint32_t value_index = spec_.n_kv_head + head;
      pages.push_back({{segment.block_offsets[head], index, segment.formats[head]},
                       {segment.block_offsets[value_index], index, segment.formats[value_index]}});
    }
  }
  const AttendSequence sequence = {
      .n_q = request.n_q,
      .q = request.q,
      .pages = pages,
      .first_page = first_page,
      .n_token = n_visible,
      .first_q_position = q_position,
      .mask = {request.causal, window, request.mask, request.mask_stride},
      .equaliser = equaliser_.vector(),
      .out = request.out,
      .lse = request.lse,
      .on_device = request.on_device,
  };
  const float scale = request.softmax_scale > 0
                          ? request.softmax_scale
                          : 1.0F / std::sqrt(static_cast<float>(spec_.key_head_dim));
  const AttendArgs args = {
      .n_head = spec_.n_head,
      .n_kv_head = spec_.n_kv_head,
      .key_head_dim = spec_.key_head_dim,
      .value_head_dim = spec_.value_head_dim,
      .softmax_scale = scale,
      .logit_softcap = request.logit_softcap,
      .sparse_values = request.sparse_values,
      .buffers = buffers,
      .sequences = {&sequence, 1},
  };
  KVAULT_TRY(const Ticket ticket, device.attend(args));
  return request.on_device ? Result<>{} : device.wait(ticket);
}

std::uint64_t LayerCache::resumable_at(std::uint64_t n_token, bool* exact) const {
  *exact = true;
  if (n_token >= n_token_) return n_token_;
  if (n_token <= kPageTokens) return n_token;
  const std::uint64_t page = n_token / kPageTokens;
  const auto is_raw = [this](std::uint64_t p) { return p == 0 || p >= raw_begin_; };
  if (spec_.kind == LayerKind::sliding_window) {
    const std::uint64_t first =
        n_token + 1 > spec_.window ? (n_token + 1 - spec_.window) / kPageTokens : 0;
    const bool has_rows = is_raw(first) && is_raw(std::max<std::uint64_t>(first, 1));
    return has_rows ? n_token : kPageTokens;
  }
  if (raw_policy_ == RawPolicy::none) {
    return n_token % kPageTokens == 0 || is_raw(page) ? n_token : page * kPageTokens;
  }
  if (is_raw(page - 1) && is_raw(page)) return n_token;
  *exact = page <= 1;
  return page * kPageTokens;
}

void LayerCache::truncate(std::uint64_t n_token) {
  KVAULT_ASSERT(n_token <= n_token_);
  n_token_ = n_token;
  raw_begin_ = std::min(raw_begin_, std::max<std::uint64_t>(1, n_token / kPageTokens));
  segments_.resize(std::min<std::size_t>(segments_.size(), n_sealed_page()));
  equaliser_.truncate(n_token);
}

Result<LayerCache> LayerCache::clone(Device& device) const {
  KVAULT_TRY(RawPages raw, raw_.clone(device));
  LayerCache copy(spec_, CacheOptions{}, 0, std::move(raw));
  copy.raw_policy_ = raw_policy_;
  copy.scale_rule_ = scale_rule_;
  copy.centre_keys_ = centre_keys_;
  copy.centre_values_ = centre_values_;
  copy.n_token_ = n_token_;
  copy.raw_begin_ = raw_begin_;
  copy.equaliser_ = equaliser_;
  copy.segments_ = segments_;
  return copy;
}

}  // namespace kvault
