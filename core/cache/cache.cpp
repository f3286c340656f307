#include "core/cache/cache.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>

#include "core/base/assert.hpp"

namespace kvault {

Result<Cache> Cache::create(Device& device, CacheOptions options) {
  KVAULT_TRY(Cache cache, create_empty(device, std::move(options)));
  for (std::uint32_t layer = 0; layer < cache.n_layer(); ++layer) {
    KVAULT_CHECK(cache.allocate(layer));
  }
  return cache;
}

Result<Cache> Cache::create_empty(Device& device, CacheOptions options) try {
  KVAULT_CHECK(check(options));
  Cache cache(device, std::move(options));
  const std::uint32_t n_layer = cache.n_layer();
  cache.attention_.resize(n_layer);
  cache.recurrent_.resize(n_layer);
  for (std::uint32_t index = 0; index < n_layer; ++index) {
    if (!cache.options_.shape.layers[index].has_attention()) continue;
    cache.attention_[index] =
        std::make_unique<LayerCache>(LayerCache::create_empty(cache.options_, index));
  }
  return cache;
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "no memory for the cache");
}

Result<> Cache::allocate(std::uint32_t layer) try {
  if (attention_[layer] == nullptr) return {};
  return attention_[layer]->allocate(*device_);
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, message("no memory for layer ", layer));
}

std::uint64_t Cache::position_of(std::uint32_t layer) const {
  switch (options_.shape.layers[layer].kind) {
    case LayerKind::full_attention:
    case LayerKind::sliding_window:
      return attention_[layer]->n_token();
    case LayerKind::recurrent:
      return recurrent_[layer].position();
    case LayerKind::none:
      break;
  }
  return std::numeric_limits<std::uint64_t>::max();
}

Tokens Cache::n_token() const {
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  for (std::uint32_t layer = 0; layer < n_layer(); ++layer) {
    least = std::min(least, position_of(layer));
  }
  return Tokens(least == std::numeric_limits<std::uint64_t>::max() ? 0 : least);
}

bool Cache::is_level() const {
  const std::uint64_t n = n_token().raw;
  for (std::uint32_t layer = 0; layer < n_layer(); ++layer) {
    if (options_.shape.layers[layer].kind != LayerKind::none && position_of(layer) != n) {
      return false;
    }
  }
  return true;
}

std::uint64_t Cache::n_sealed_page() const {
  std::uint64_t n = n_sealed_page_at(n_token().raw, options_.raw_policy);
  for (const auto& layer : attention_) {
    if (layer != nullptr) n = std::max(n, layer->n_sealed_page());
  }
  return std::min(n, n_token().raw / kPageTokens);
}

Result<> Cache::append(LayerIndex layer, const RowsView& keys, const RowsView& values) try {
  KVAULT_CHECK(check_append(layer, keys, values));
  KVAULT_CHECK(load_layer(layer));
  return attention_[layer.raw]->append(*device_, keys, values);
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, message("no memory to append to layer ", layer.raw));
}

Result<> Cache::attend(LayerIndex layer, const AttendRequest& request) try {
  KVAULT_CHECK(check_layer(layer, true));
  LayerCache& cache = *attention_[layer.raw];
  KVAULT_CHECK(check_request(layer, request, cache.n_token()));
  KVAULT_CHECK(load_layer(layer));
  const std::uint64_t first = cache.n_token() > request.n_q ? cache.n_token() - request.n_q : 0;
  const bool slides = cache.spec().kind == LayerKind::sliding_window;
  if (cache.n_token() > 0 && (request.causal || slides) && !cache.can_attend_from(first)) {
    return fail(Errc::out_of_range,
                message("layer ", layer.raw, ": ", request.n_q, " queries at ", cache.n_token(),
                        " tokens reach back to position ", first,
                        ", whose raw rows are gone; use append_attend for long stretches"));
  }
  return cache.attend(*device_, request);
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, message("no memory to attend in layer ", layer.raw));
}

Result<> Cache::append_attend(LayerIndex layer, const RowsView& keys, const RowsView& values,
                              const AttendRequest& request) try {
  KVAULT_CHECK(check_append(layer, keys, values));
  LayerCache& cache = *attention_[layer.raw];
  KVAULT_CHECK(check_request(layer, request, cache.n_token() + keys.n_token));
  if (request.n_q != keys.n_token) {
    return fail(Errc::shape_mismatch, message("layer ", layer.raw, ": ", request.n_q,
                                              " queries with ", keys.n_token, " new tokens"));
  }
  if (!request.causal) {
    return fail(Errc::unsupported, message("layer ", layer.raw,
                                           ": append_attend is causal; append first, then attend"));
  }
  KVAULT_CHECK(load_layer(layer));
  return cache.append_attend(*device_, keys, values, request);
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, message("no memory to attend in layer ", layer.raw));
}

Result<> Cache::set_state(LayerIndex layer, Tokens position, std::span<const std::byte> bytes) try {
  KVAULT_CHECK(check_layer(layer, false));
  if (position.raw > options_.n_token_max) {
    return fail(Errc::limit_exceeded, message("layer ", layer.raw, ": position ", position.raw,
                                              " is above the limit ", options_.n_token_max));
  }
  KVAULT_CHECK(load_layer(layer));
  recurrent_[layer.raw].set(position.raw, bytes);
  return {};
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, message("no memory for a state of ", bytes.size(), " bytes"));
}

Result<std::span<const std::byte>> Cache::state(LayerIndex layer) {
  KVAULT_CHECK(check_layer(layer, false));
  KVAULT_CHECK(load_layer(layer));
  return recurrent_[layer.raw].bytes();
}

/// A state that is not loaded is kept where it is stored.
void Cache::keep_states() {
  for (std::uint32_t layer = 0; layer < n_layer(); ++layer) {
    const bool is_recurrent = options_.shape.layers[layer].kind == LayerKind::recurrent;
    if (is_recurrent && is_loaded(LayerIndex(layer))) recurrent_[layer].keep();
  }
}

/// The newest position <= n_token at which every layer can go on.
Kept Cache::resumable_at(std::uint64_t n_token) const {
  std::uint64_t position = n_token;
  bool all_exact = true;
  for (bool is_settled = false; !is_settled;) {
    is_settled = true;
    all_exact = true;
    for (std::uint32_t layer = 0; layer < n_layer(); ++layer) {
      const LayerKind kind = options_.shape.layers[layer].kind;
      bool exact = true;
      std::uint64_t reached = position;
      if (attention_[layer] != nullptr) reached = attention_[layer]->resumable_at(position, &exact);
      if (kind == LayerKind::recurrent) reached = recurrent_[layer].resumable_at(position);
      all_exact = all_exact && exact;
      if (reached < position) {
        position = reached;
        is_settled = false;
      }
    }
  }
  return {Tokens(position), all_exact};
}

void Cache::truncate(std::uint64_t n_token) {
  for (std::uint32_t layer = 0; layer < n_layer(); ++layer) {
    if (attention_[layer] != nullptr) attention_[layer]->truncate(n_token);
    if (options_.shape.layers[layer].kind == LayerKind::recurrent) {
      recurrent_[layer].truncate(n_token);
    }
  }
}

Result<Kept> Cache::rollback(Tokens n_token) {
  if (n_token > this->n_token()) {
    return fail(Errc::out_of_range,
                message("cannot go back to token ", n_token.raw, " of ", this->n_token().raw));
  }
  if (n_token.raw == 0) {
    for (std::uint32_t layer = 0; layer < n_layer(); ++layer) KVAULT_CHECK(allocate(layer));
    source_.reset();
  } else {
    KVAULT_CHECK(load_all());
  }
  const Kept kept = resumable_at(n_token.raw);
  truncate(kept.n_token.raw);
  return kept;
}

Result<Cache> Cache::fork(Tokens n_token, Kept* kept) try {
  if (n_token > this->n_token()) {
    return fail(Errc::out_of_range,
                message("cannot fork at token ", n_token.raw, " of ", this->n_token().raw));
  }
  KVAULT_CHECK(load_all());
  Cache copy(*device_, options_);
  copy.recurrent_ = recurrent_;
  copy.attention_.resize(attention_.size());
  for (std::size_t layer = 0; layer < attention_.size(); ++layer) {
    if (attention_[layer] == nullptr) continue;
    KVAULT_TRY(LayerCache cache, attention_[layer]->clone(*device_));
    copy.attention_[layer] = std::make_unique<LayerCache>(std::move(cache));
  }
  KVAULT_TRY(*kept, copy.rollback(n_token));
  return copy;
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "no memory for a fork");
}

Result<> Cache::read_rows(LayerIndex layer, const RowsRead& read) try {
  KVAULT_CHECK(check_layer(layer, true));
  const LayerCache& cache = *attention_[layer.raw];
  if (read.first > cache.n_token() || read.n > cache.n_token() - read.first) {
    return fail(Errc::out_of_range, message("rows ", read.first, "..", read.first + read.n,
                                            " of a layer with ", cache.n_token(), " tokens"));
  }
  const LayerSpec& spec = cache.spec();
  const std::uint32_t dim = read.side == Side::key ? spec.key_head_dim : spec.value_head_dim;
  const std::uint64_t wanted_bytes = read.n * spec.n_kv_head * dim * size_bytes_of(read.type);
  if (read.target.size() != wanted_bytes) {
    return fail(Errc::shape_mismatch,
                message("room for ", read.target.size(), " bytes, not ", wanted_bytes));
  }
  // Of a sliding window only the first page and the newest ones are there.
  const std::uint64_t gap_begin = std::max<std::uint64_t>(read.first, kPageTokens);
  const std::uint64_t gap_end = cache.raw_begin() * kPageTokens;
  if (spec.kind == LayerKind::sliding_window &&
      gap_begin < std::min(gap_end, read.first + read.n)) {
    return fail(Errc::not_found, message("rows of token ", gap_begin,
                                         " have left the window; the first kept is ", gap_end));
  }
  KVAULT_CHECK(load_layer(layer));
  return cache.read_rows(*device_, read);
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, message("no memory to read ", read.n, " rows"));
}

Result<BlockFormat> Cache::read_block(LayerIndex layer, PageIndex page, Side side,
                                      std::uint32_t kv_head, std::vector<std::byte>& bytes) try {
  KVAULT_CHECK(check_layer(layer, true));
  LayerCache& cache = *attention_[layer.raw];
  const std::uint64_t n_page = (cache.n_token() + kPageTokens - 1) / kPageTokens;
  if (page.raw >= n_page || kv_head >= cache.spec().n_kv_head) {
    return fail(Errc::out_of_range, message("block of page ", page.raw, " of ", n_page,
                                            ", kv head ", kv_head, " of ", cache.spec().n_kv_head));
  }
  KVAULT_CHECK(load_layer(layer));
  KVAULT_CHECK(cache.seal_due_pages(*device_));
  if (!cache.has_segment(page.raw) && page.raw != 0 && page.raw < cache.raw_begin()) {
    return fail(Errc::not_found, message("page ", page.raw, " has left the window"));
  }
  return cache.read_block(*device_, page.raw, side, kv_head, bytes);
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, message("no memory to read page ", page.raw));
}

CacheStats Cache::stats() const {
  CacheStats stats;
  stats.n_token = n_token().raw;
  stats.n_sealed_page = n_sealed_page();
  for (std::uint32_t index = 0; index < n_layer(); ++index) {
    if (attention_[index] == nullptr || !is_loaded(LayerIndex(index))) continue;
    const LayerCache& layer = *attention_[index];
    const LayerSpec& spec = layer.spec();
    std::uint64_t n = layer.n_token();
    if (spec.kind == LayerKind::sliding_window) n = std::min<std::uint64_t>(n, spec.window);
    stats.n_element += n * spec.n_kv_head * (spec.key_head_dim + spec.value_head_dim);
    stats.stored_size_bytes += layer.stored_size_bytes();
  }
  return stats;
}

Result<> Cache::set_source(std::unique_ptr<LayerSource> source) {
  source_ = std::move(source);
  for (std::uint32_t layer = 0; layer < n_layer(); ++layer) {
    if (is_loaded(LayerIndex(layer))) KVAULT_CHECK(allocate(layer));
  }
  return {};
}

bool Cache::is_loaded(LayerIndex layer) const {
  return source_ == nullptr || source_->is_loaded(layer);
}

Result<> Cache::load_layer(LayerIndex layer) {
  if (layer.raw >= n_layer()) {
    return fail(Errc::out_of_range, message("layer ", layer.raw, " of ", n_layer()));
  }
  if (is_loaded(layer)) return {};
  KVAULT_CHECK(fetch(layer));
  forget_idle_source();
  return {};
}

/// pre: the layer is not loaded
Result<> Cache::fetch(LayerIndex layer) try {
  KVAULT_CHECK(allocate(layer.raw));
  return source_->load(*this, layer);
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, message("no memory to load layer ", layer.raw));
}

Result<> Cache::load_all() {
  if (source_ == nullptr) return {};
  for (std::uint32_t layer = 0; layer < n_layer(); ++layer) {
    if (!is_loaded(LayerIndex(layer))) KVAULT_CHECK(fetch(LayerIndex(layer)));
  }
  KVAULT_CHECK(source_->wait());
  source_.reset();
  return {};
}

void Cache::forget_idle_source() {
  for (std::uint32_t layer = 0; layer < n_layer(); ++layer) {
    if (!is_loaded(LayerIndex(layer))) return;
  }
  source_.reset();
}

const LayerCache& Cache::layer(LayerIndex layer) const {
  KVAULT_ASSERT(layer.raw < attention_.size() && attention_[layer.raw] != nullptr);
  return *attention_[layer.raw];
}

LayerCache& Cache::layer(LayerIndex layer) {
  KVAULT_ASSERT(layer.raw < attention_.size() && attention_[layer.raw] != nullptr);
  return *attention_[layer.raw];
}

const RecurrentState& Cache::recurrent(LayerIndex layer) const { return recurrent_[layer.raw]; }

RecurrentState& Cache::recurrent(LayerIndex layer) { return recurrent_[layer.raw]; }

}  // namespace kvault
