#include "sdk/src/session_save.hpp"

#include <algorithm>
#include <cstring>

#include "core/base/assert.hpp"

namespace kvault {
namespace {

Chunk make_chunk(ChunkKind kind, std::uint32_t layer) {
  Chunk chunk;
  chunk.kind = kind;
  chunk.layer = layer;
  return chunk;
}

template <class T>
std::vector<std::byte> to_bytes(std::span<const T> values) {
  const std::span<const std::byte> bytes = std::as_bytes(values);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

Result<OutgoingRecord> SessionSaver::page(std::uint64_t page) {
  RecordDraft draft;
  draft.kind = RecordKind::page;
  draft.first_token = page * kPageTokens;
  draft.n_token = kPageTokens;
  const auto ids = token_ids_.subspan(page * kPageTokens, kPageTokens);
  draft.meta.token_ids.assign(ids.begin(), ids.end());
  for (std::uint32_t layer = 0; layer < cache_.n_layer(); ++layer) {
    if (!cache_.options().shape.layers[layer].has_attention()) continue;
    if (page == 0) KVAULT_CHECK(cache_.layer(LayerIndex(layer)).settle_equaliser(cache_.device()));
    KVAULT_CHECK(add_segment(layer, page));
    if (page == 0) add_equaliser(layer);
  }
  return maker_.finish(std::move(draft));
}

Result<> SessionSaver::add_segment(std::uint32_t layer, std::uint64_t page) {
  LayerCache& cache = cache_.layer(LayerIndex(layer));
  KVAULT_CHECK(cache.seal_due_pages(cache_.device()));  // a loaded history is not sealed yet
  const bool slides = cache.spec().kind == LayerKind::sliding_window;
  if (slides && page != 0 && page < cache.raw_begin()) return {};  // its rows have left the window
  Chunk chunk = make_chunk(ChunkKind::segment, layer);
  std::vector<std::byte> bytes;
  KVAULT_CHECK(cache.read_segment(cache_.device(), page, bytes, chunk.formats));
  const bool is_raw = std::all_of(chunk.formats.begin(), chunk.formats.end(),
                                  [](BlockFormat format) { return format.is_raw(); });
  if (!is_raw) {
    maker_.add(std::move(chunk), std::move(bytes));
    return {};
  }
  // What is attended where it lies in the pack stays as it is, unless it were far less.
  const std::size_t size_bytes = bytes.size();
  maker_.add_rows(std::move(chunk), std::move(bytes),
                  cache.keeps_segment(page) ? size_bytes / 2 : size_bytes - 1);
  return {};
}

void SessionSaver::add_equaliser(std::uint32_t layer) {
  const std::span<const Half> vector = cache_.layer(LayerIndex(layer)).equaliser().vector();
  if (vector.empty()) return;
  maker_.add(make_chunk(ChunkKind::equaliser, layer), to_bytes(vector));
}

Result<OutgoingRecord> SessionSaver::tail(std::uint64_t first) {
  const std::uint64_t n_token = cache_.n_token().raw;
  KVAULT_ASSERT(first < n_token && token_ids_.size() == n_token);
  RecordDraft draft;
  draft.kind = RecordKind::tail;
  draft.first_token = first;
  draft.n_token = static_cast<std::uint32_t>(n_token - first);
  const auto ids = token_ids_.subspan(first);
  draft.meta.token_ids.assign(ids.begin(), ids.end());
  for (std::uint32_t layer = 0; layer < cache_.n_layer(); ++layer) {
    if (!cache_.options().shape.layers[layer].has_attention()) continue;
    KVAULT_CHECK(add_rows(layer, first));
    if (first == 0 && cache_.layer(LayerIndex(layer)).equaliser().is_fixed()) add_equaliser(layer);
    add_energy(layer, first);
  }
  return maker_.finish(std::move(draft));
}

Result<> SessionSaver::add_rows(std::uint32_t layer, std::uint64_t first) {
  const LayerCache& cache = cache_.layer(LayerIndex(layer));
  const LayerSpec& spec = cache.spec();
  const std::uint64_t n = cache.n_token() - first;
  const std::size_t element = size_bytes_of(cache.row_type());
  const std::size_t key_bytes = n * spec.n_kv_head * spec.key_head_dim * element;
  const std::size_t value_bytes = n * spec.n_kv_head * spec.value_head_dim * element;
  std::vector<std::byte> bytes = maker_.spare();
  bytes.resize(key_bytes + value_bytes);
  KVAULT_CHECK(
      cache.read_raw_rows(cache_.device(), Side::key, first, n, std::span(bytes).first(key_bytes)));
  KVAULT_CHECK(cache.read_raw_rows(cache_.device(), Side::value, first, n,
                                   std::span(bytes).subspan(key_bytes)));
  const std::size_t size_bytes = bytes.size();
  maker_.add_rows(make_chunk(ChunkKind::rows, layer), std::move(bytes), size_bytes - 1);
  return {};
}

/// The queries' energy of the tail's tokens, while the equaliser is being learned from them.
void SessionSaver::add_energy(std::uint32_t layer, std::uint64_t first) {
  const LayerCache& cache = cache_.layer(LayerIndex(layer));
  const KeyEqualiser& equaliser = cache.equaliser();
  if (equaliser.is_fixed() || equaliser.n_observed() != cache.n_token()) return;
  const std::size_t row = std::size_t{cache.spec().n_kv_head} * cache.spec().key_head_dim;
  maker_.add(make_chunk(ChunkKind::query_energy, layer),
             to_bytes(equaliser.energy().subspan(first * row)));
}

Result<OutgoingRecord> SessionSaver::snapshot() {
  RecordDraft draft;
  draft.kind = RecordKind::snapshot;
  draft.first_token = cache_.n_token().raw;
  for (std::uint32_t layer = 0; layer < cache_.n_layer(); ++layer) {
    if (cache_.options().shape.layers[layer].kind != LayerKind::recurrent) continue;
    maker_.add(make_chunk(ChunkKind::recurrent_state, layer),
               to_bytes(cache_.recurrent(LayerIndex(layer)).bytes()));
  }
  return maker_.finish(std::move(draft));
}

std::uint64_t SessionSaver::n_page() const {
  const std::uint64_t n_sealed = cache_.n_sealed_page();
  std::uint64_t oldest = 1;  // page 0 is raw in its page record
  for (std::uint32_t layer = 0; layer < cache_.n_layer(); ++layer) {
    if (!cache_.options().shape.layers[layer].has_attention()) continue;
    oldest = std::max(oldest, cache_.layer(LayerIndex(layer)).raw_begin());
  }
  return n_sealed > oldest ? n_sealed - 1 : n_sealed;
}

std::uint64_t SessionSaver::first_tail_token(std::uint64_t saved_n_token) const {
  return std::max(saved_n_token, n_page() * kPageTokens);
}

bool SessionSaver::has_recurrent_layer() const {
  const std::vector<LayerSpec>& layers = cache_.options().shape.layers;
  return std::any_of(layers.begin(), layers.end(),
                     [](const LayerSpec& spec) { return spec.kind == LayerKind::recurrent; });
}

}  // namespace kvault
