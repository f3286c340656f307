#include "sdk/src/session_load.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kvault {

SessionLoader::SessionLoader(Cache& cache, Device& device, SessionIndex index, RestoreMeter meter)
    : device_(device), index_(std::move(index)), verifier_(index_), meter_(std::move(meter)) {
  const std::uint64_t n_token = index_.info().n_token;
  std::uint64_t total_bytes = 0;
  for (std::uint32_t layer = 0; layer < cache.n_layer(); ++layer) {
    const LayerSpec& spec = cache.options().shape.layers[layer];
    total_bytes += index_.layers()[layer].size_bytes;
    if (spec.has_attention()) {
      cache.layer(LayerIndex(layer)).restore_position(n_token, index_.layers()[layer].raw_begin);
    } else if (spec.kind == LayerKind::recurrent) {
      cache.recurrent(LayerIndex(layer)).set(n_token, {});
    }
  }
  meter_.set_total(total_bytes);
}

/// The pieces of a layer go once they are in place.
bool SessionLoader::is_loaded(LayerIndex layer) const {
  return index_.layers()[layer.raw].pieces.empty();
}

Result<> SessionLoader::load(Cache& cache, LayerIndex layer) {
  read_ahead(layer.raw);
  Result<> placed = place(cache, layer);
  if (!placed) {
    // What has been placed is replaced by the next attempt, and must not be in use by then.
    static_cast<void>(wait());
    verifier_.forget(layer);
    return placed;
  }
  StoredLayer& stored = index_.layers()[layer.raw];
  meter_.finish_layer(stored.size_bytes);
  stored = {};
  return {};
}

Result<> SessionLoader::wait() {
  if (!last_upload_) return {};
  return device_.wait(*std::exchange(last_upload_, std::nullopt));
}

/// This layer and the one behind it; an engine goes through them in order.
void SessionLoader::read_ahead(std::uint32_t layer) {
  const auto end = std::min(layer + 2, static_cast<std::uint32_t>(index_.layers().size()));
  for (std::uint32_t next = std::max(layer, n_read_ahead_); next < end; ++next) {
    for (const StoredPiece& piece : index_.layers()[next].pieces) {
      index_.record(piece).pack->mapping().will_need(piece.offset_bytes, piece.size_bytes);
    }
  }
  n_read_ahead_ = std::max(n_read_ahead_, end);
}

Result<> SessionLoader::place(Cache& cache, LayerIndex layer) {
  StoredLayer& stored = index_.layers()[layer.raw];
  Gathered gathered;
  KVAULT_CHECK(meter_.report(0));
  verifier_.begin(layer);
  for (std::size_t i = 0; i < stored.pieces.size(); ++i) {
    StoredPiece& piece = stored.pieces[i];
    if (!verifier_.is_intact(layer, i)) return tl::unexpected(damaged(layer, piece));
    KVAULT_CHECK(place_piece(cache, layer, piece, gathered));
    piece.plain = {};
    gathered.size_bytes += piece.size_bytes;
    KVAULT_CHECK(meter_.report(gathered.size_bytes));
  }
  if (cache.options().shape.layers[layer.raw].has_attention()) {
    // A page of which rows are stored and not codes is sealed by who first needs it so.
    settle_equaliser(cache.layer(layer), gathered);
  }
  return {};
}

Error SessionLoader::damaged(LayerIndex layer, const StoredPiece& piece) const {
  return SessionIndex::damaged(
      index_.record(piece).place,
      message("layer ", layer.raw, ", ", name_of(piece.kind), ": the checksum does not match"));
}

Result<> SessionLoader::place_piece(Cache& cache, LayerIndex layer, const StoredPiece& piece,
                                    Gathered& gathered) {
  if (cache.options().shape.layers[layer.raw].has_attention()) {
    return place_attention(cache.layer(layer), index_.layers()[layer.raw], piece, gathered);
  }
  RecurrentState& state = cache.recurrent(layer);
  state.set(index_.record(piece).place.first_token, index_.bytes_of(piece));
  state.keep();
  return {};
}

Result<> SessionLoader::place_attention(LayerCache& layer, const StoredLayer& stored,
                                        const StoredPiece& piece, Gathered& gathered) {
  switch (piece.kind) {
    case ChunkKind::segment:
      return place_segment(layer, stored, piece);
    case ChunkKind::rows:
      return place_rows(layer, stored, piece);
    case ChunkKind::equaliser:
      place_equaliser(layer, piece);
      break;
    case ChunkKind::query_energy:
      gather_energy(layer, piece, gathered);
      break;
    case ChunkKind::recurrent_state:
      break;
  }
  return {};
}

Result<> SessionLoader::place_segment(LayerCache& layer, const StoredLayer& stored,
                                      const StoredPiece& piece) {
  const StoredRecord& record = index_.record(piece);
  const std::uint64_t page = record.place.first_token / kPageTokens;
  const std::span<const std::byte> bytes = index_.bytes_of(piece);
  if (!layer.keeps_segment(page)) return layer.restore_segment(device_, page, {}, bytes);
  std::shared_ptr<const Buffer> buffer;
  std::uint64_t offset_bytes = piece.offset_bytes;
  if (record.pack->buffer() != nullptr && piece.packed_from_bytes == 0) {
    // The buffer lives as long as its pack: the segment holds both.
    buffer = std::shared_ptr<const Buffer>(record.pack, record.pack->buffer());
  } else {
    KVAULT_TRY(std::unique_ptr<Buffer> copy,
               device_.allocate({.size_bytes = bytes.size(), .is_zeroed = false}));
    KVAULT_TRY(last_upload_, device_.upload(*copy, 0, bytes));
    buffer = std::move(copy);
    offset_bytes = 0;
  }
  const auto formats = std::span(stored.formats).subspan(piece.first_format, piece.n_format);
  return layer.restore_segment(device_, page,
                               Segment::at(layer.spec(), std::move(buffer), offset_bytes,
                                           SegmentFormats(formats.begin(), formats.end())),
                               bytes);
}

Result<> SessionLoader::place_rows(LayerCache& layer, const StoredLayer& stored,
                                   const StoredPiece& piece) {
  const StoredRecord& record = index_.record(piece);
  const client::RecordPlace& place = record.place;
  const LayerSpec& spec = layer.spec();
  const std::byte* const keys = index_.bytes_of(piece).data();
  const RowsView key_rows =
      RowsView::dense(keys, layer.row_type(), record.n_token, spec.n_kv_head, spec.key_head_dim);
  const std::uint64_t key_bytes =
      std::uint64_t{record.n_token} * static_cast<std::uint64_t>(key_rows.token_stride_bytes);
  const RowsView value_rows = RowsView::dense(keys + key_bytes, layer.row_type(), record.n_token,
                                              spec.n_kv_head, spec.value_head_dim);
  const auto restore = [&](std::uint64_t from, std::uint64_t to) -> Result<> {
    if (from >= to) return {};
    const auto skipped = static_cast<std::uint32_t>(from - place.first_token);
    const auto n = static_cast<std::uint32_t>(to - from);
    KVAULT_CHECK(layer.restore_rows(device_, Side::key, from, key_rows.part(skipped, n)));
    return layer.restore_rows(device_, Side::value, from, value_rows.part(skipped, n));
  };
  const std::uint64_t end = place.first_token + place.n_token;
  // The first page has a place of its own.
  KVAULT_CHECK(restore(place.first_token, std::min<std::uint64_t>(end, kPageTokens)));
  // Rows of pages that are not in the raw pages any more have no place, and no use.
  const std::uint64_t first = std::max(place.first_token, stored.raw_begin * kPageTokens);
  return restore(std::max<std::uint64_t>(first, kPageTokens), end);
}

void SessionLoader::place_equaliser(LayerCache& layer, const StoredPiece& piece) const {
  const std::span<const std::byte> bytes = index_.bytes_of(piece);
  std::vector<Half> vector(bytes.size() / sizeof(Half));
  std::memcpy(vector.data(), bytes.data(), bytes.size());
  layer.restore_equaliser(vector);
}

void SessionLoader::gather_energy(const LayerCache& layer, const StoredPiece& piece,
                                  Gathered& gathered) const {
  const client::RecordPlace& place = index_.record(piece).place;
  const std::size_t row = std::size_t{layer.spec().n_kv_head} * layer.spec().key_head_dim;
  const std::size_t before = gathered.energy.size();
  if (before != place.first_token * row) return;
  const std::size_t n = std::size_t{place.n_token} * row;
  gathered.energy.resize(before + n);
  std::memcpy(gathered.energy.data() + before, index_.bytes_of(piece).data(), n * sizeof(float));
}

void SessionLoader::settle_equaliser(LayerCache& layer, const Gathered& gathered) const {
  if (layer.equaliser().is_fixed()) return;
  if (index_.info().n_page >= 1) {
    layer.restore_equaliser({});
  } else if (!gathered.energy.empty()) {
    layer.restore_energy(gathered.energy);
  }
}

}  // namespace kvault
