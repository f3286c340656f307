#include "sdk/src/session_index.hpp"

#include <algorithm>
#include <utility>

#include "core/format/record_check.hpp"
#include "core/format/row_packing.hpp"
#include "core/format/sealed_record.hpp"

namespace kvault {
namespace {

/// What is read ahead of a record's head; heads of large models are longer, and are waited for.
constexpr std::uint64_t kHeadBytes = 16384;

bool is_record_kind(RecordKind kind) {
  return kind == RecordKind::page || kind == RecordKind::tail || kind == RecordKind::snapshot;
}

bool is_named(const RecordHeader& header, const client::RecordPlace& place) {
  return header.checksum == place.checksum && header.kind == place.kind &&
         header.first_token == place.first_token && header.n_token >= place.n_token &&
         header.length_bytes == place.length_bytes;
}

}  // namespace

Error SessionIndex::damaged(const client::RecordPlace& record, const std::string& what) {
  return {
      Errc::corrupt,
      message(name_of(record.kind), " record at token ", record.first_token, " in ",
              record.pack_path.filename().string(), " at byte ", record.offset_bytes, ": ", what),
      __FILE__, __LINE__};
}

Result<SessionIndex> SessionIndex::read(const Cache& cache, client::Attachment stored,
                                        bool copies) {
  SessionIndex index(cache, std::move(stored.info));
  index.key_ = stored.key;
  // Sealed bytes are of no use to a device.
  const bool is_adopting = !copies && !index.key_;
  KVAULT_CHECK(index.open_packs(cache.device(), std::move(stored.records), !is_adopting));
  // All at once, so that a disk has more than one thing to do.
  for (const StoredRecord& record : index.records_) {
    record.pack->mapping().will_need(record.place.offset_bytes,
                                     std::min(record.place.length_bytes, kHeadBytes));
  }
  for (std::uint32_t number = 0; number < index.records_.size(); ++number) {
    KVAULT_CHECK(index.read_head(cache, number));
  }
  KVAULT_CHECK(index.finish(cache));
  return index;
}

Result<> SessionIndex::open_packs(Device& device, std::vector<client::RecordPlace> places,
                                  bool copies) {
  // Each is mapped once, as far as any record needs it.
  std::map<std::filesystem::path, std::uint64_t> ends;
  for (const client::RecordPlace& place : places) {
    std::uint64_t& end_bytes = ends[place.pack_path];
    end_bytes = std::max(end_bytes, place.offset_bytes + place.length_bytes);
  }
  Packs packs;
  for (const auto& [path, end_bytes] : ends) {
    Result<std::shared_ptr<MappedPack>> pack = MappedPack::open(path, end_bytes);
    if (!pack && pack.error().code == Errc::truncated) {
      const auto last = std::find_if(places.begin(), places.end(), [&](const auto& place) {
        return place.pack_path == path && place.offset_bytes + place.length_bytes == end_bytes;
      });
      return tl::unexpected(damaged(*last, pack.error().message));
    }
    if (!pack) return tl::unexpected(pack.error());
    if (device.caps().adopts_host_memory && !copies) KVAULT_CHECK((*pack)->adopt(device));
    packs[path] = std::move(*pack);
  }
  records_.reserve(places.size());
  for (client::RecordPlace& place : places) {
    const std::shared_ptr<const MappedPack> pack = packs.at(place.pack_path);
    records_.push_back({std::move(place), 0, pack});
  }
  return {};
}

Result<> SessionIndex::read_head(const Cache& cache, std::uint32_t number) {
  StoredRecord& record = records_[number];
  const client::RecordPlace& place = record.place;
  if (!is_record_kind(place.kind)) {
    return tl::unexpected(damaged(place, "a session has no records of this kind"));
  }
  const std::span<const std::byte> bytes =
      record.pack->mapping().bytes().subspan(place.offset_bytes, place.length_bytes);
  KVAULT_TRY(const RecordHeader header, parse_head(bytes));
  if (!is_named(header, place)) {
    return tl::unexpected(damaged(place, "it is not the record the session names"));
  }
  record.n_token = header.n_token;
  std::optional<OneKey> keys;
  if (key_) keys.emplace(*key_);
  KVAULT_TRY(PayloadMeta meta, parse_payload_meta(header, bytes, keys ? &*keys : nullptr));
  KVAULT_CHECK(keep_token_ids(place, meta));
  const RecordDraft draft = {.kind = header.kind,
                             .first_token = header.first_token,
                             .n_token = header.n_token,
                             .meta = std::move(meta),
                             .payload_bytes = header.payload_bytes};
  const std::uint64_t seal_bytes = key_ ? kSealBytes : 0;
  if (const Result<> fits = check_draft(cache.options().shape, draft, seal_bytes); !fits) {
    return tl::unexpected(damaged(place, fits.error().message));
  }
  return add_pieces(cache, number, header, draft.meta);
}

Result<> SessionIndex::keep_token_ids(const client::RecordPlace& place, const PayloadMeta& meta) {
  if (place.first_token + place.n_token > token_ids_.size()) {
    return tl::unexpected(
        damaged(place, message("it reaches past the session's ", token_ids_.size(), " tokens")));
  }
  std::copy_n(meta.token_ids.begin(), place.n_token,
              token_ids_.begin() + static_cast<std::ptrdiff_t>(place.first_token));
  return {};
}

/// pre: meta fits the session
Result<> SessionIndex::add_pieces(const Cache& cache, std::uint32_t number,
                                  const RecordHeader& header, const PayloadMeta& meta) {
  const client::RecordPlace& place = records_[number].place;
  const std::uint64_t page = place.first_token / kPageTokens;
  if (place.kind == RecordKind::page && page < has_page_.size()) has_page_[page] = true;
  if (place.kind == RecordKind::tail) {
    if (place.n_token == 0) return {};
    first_tail_token_ = std::min(first_tail_token_, place.first_token);
  }
  for (const Chunk& chunk : meta.chunks) {
    if (chunk.kind == ChunkKind::segment) KVAULT_CHECK(add_segment(cache, page, chunk));
    StoredLayer& layer = layers_[chunk.layer];
    std::uint64_t packed_from_bytes = 0;
    if (chunk.is_packed) {
      KVAULT_TRY(packed_from_bytes, chunk_size_bytes(cache.options().shape, chunk, header.n_token));
    }
    layer.pieces.push_back(
        {.kind = chunk.kind,
         .record = number,
         .offset_bytes = place.offset_bytes + header.payload_offset + chunk.offset_bytes,
         .size_bytes = chunk.size_bytes,
         .checksum = chunk.checksum,
         .first_format = static_cast<std::uint32_t>(layer.formats.size()),
         .n_format = static_cast<std::uint32_t>(chunk.formats.size()),
         .packed_from_bytes = packed_from_bytes});
    layer.formats.insert(layer.formats.end(), chunk.formats.begin(), chunk.formats.end());
    layer.size_bytes += chunk.size_bytes;
  }
  return {};
}

Result<> SessionIndex::add_segment(const Cache& cache, std::uint64_t page, const Chunk& chunk) {
  const LayerCache& layer = cache.layer(LayerIndex(chunk.layer));
  const bool slides = layer.spec().kind == LayerKind::sliding_window;
  const bool is_sink = page == 0 && cache.options().raw_policy == RawPolicy::sink_and_tail;
  if (slides) {
    SlidePages& pages = slide_pages_[chunk.layer];
    if (pages.end != page) pages.first = page;
    pages.end = page + 1;
  }
  if (!slides && !is_sink) return {};
  const bool is_raw = std::all_of(chunk.formats.begin(), chunk.formats.end(), [&](BlockFormat f) {
    return f == BlockFormat::raw(layer.row_type());
  });
  if (is_raw) return {};
  return fail(Errc::identity_mismatch,
              message("page ", page, ", layer ", chunk.layer,
                      " is coded, but has to be raw: the session was saved without raw pages"));
}

Result<> SessionIndex::finish(const Cache& cache) {
  const auto missing = std::find(has_page_.begin(), has_page_.end(), false);
  if (missing != has_page_.end()) {
    return fail(Errc::corrupt, message("page ", missing - has_page_.begin(), " of ",
                                       has_page_.size(), " is missing"));
  }
  for (std::uint32_t index = 0; index < cache.n_layer(); ++index) {
    const LayerSpec& spec = cache.options().shape.layers[index];
    if (spec.kind == LayerKind::recurrent) KVAULT_CHECK(check_newest_state(index));
    if (!spec.has_attention()) continue;
    layers_[index].raw_begin = raw_begin(cache.layer(LayerIndex(index)), slide_pages_[index]);
    if (spec.kind == LayerKind::sliding_window) {
      forget_slid_pages(layers_[index]);
    } else if (layers_[index].raw_begin > std::max<std::uint64_t>(1, info_.n_page)) {
      return fail(Errc::corrupt,
                  message("a session of ", info_.n_token, " tokens with ", info_.n_page,
                          " pages: the rows of more pages are stored than a cache keeps raw"));
    }
  }
  return {};
}

Result<> SessionIndex::check_newest_state(std::uint32_t layer) const {
  const std::vector<StoredPiece>& states = layers_[layer].pieces;
  const std::uint64_t end = states.empty() ? 0 : record(states.back()).place.first_token;
  if (end == info_.n_token) return {};
  return fail(Errc::corrupt, message("the stored states of layer ", layer, " end at token ", end,
                                     ", the session at ", info_.n_token));
}

/// Nobody can see rows that have left the window: they are not worth reading.
void SessionIndex::forget_slid_pages(StoredLayer& layer) {
  const auto has_left = [&](const StoredPiece& piece) {
    const std::uint64_t page = record(piece).place.first_token / kPageTokens;
    return piece.kind == ChunkKind::segment && page != 0 && page < layer.raw_begin;
  };
  for (const StoredPiece& piece : layer.pieces) {
    if (has_left(piece)) layer.size_bytes -= piece.size_bytes;
  }
  std::erase_if(layer.pieces, has_left);
}

std::uint64_t SessionIndex::raw_begin(const LayerCache& layer, const SlidePages& slide) const {
  const std::uint64_t n_ring = layer.n_ring();
  const std::uint64_t last_page = info_.n_token == 0 ? 0 : (info_.n_token - 1) / kPageTokens;
  const std::uint64_t first = last_page + 1 > n_ring ? last_page + 1 - n_ring : 1;
  std::uint64_t first_stored = (first_tail_token_ + kPageTokens - 1) / kPageTokens;
  if (slide.end > slide.first && slide.end >= first_stored) {
    first_stored = std::min(first_stored, slide.first);
  }
  return std::max<std::uint64_t>({1, first, std::min(first_stored, info_.n_page + 1)});
}

std::span<const std::byte> SessionIndex::bytes_of(const StoredPiece& piece) const {
  const bool is_plain = !key_ && piece.packed_from_bytes == 0;
  return is_plain ? stored_bytes_of(piece) : std::span<const std::byte>(piece.plain);
}

Result<> SessionIndex::open(LayerIndex layer, StoredPiece& piece, RowUnpacker& unpacker) const {
  std::span<const std::byte> bytes = stored_bytes_of(piece);
  if (key_) {
    const StoredRecord& stored = record(piece);
    const RecordDraft draft = {.kind = stored.place.kind,
                               .first_token = stored.place.first_token,
                               .n_token = stored.n_token};
    const Chunk chunk = {.kind = piece.kind, .layer = layer.raw};
    KVAULT_TRY(piece.plain, unseal_chunk(key_->key, key_->family, draft, chunk, bytes));
    bytes = piece.plain;
  }
  if (piece.packed_from_bytes == 0) return {};
  std::vector<std::byte> rows(piece.packed_from_bytes);
  KVAULT_CHECK(unpacker.unpack(bytes, size_bytes_of(row_type_), rows));
  piece.plain = std::move(rows);
  return {};
}

std::span<const std::byte> SessionIndex::stored_bytes_of(const StoredPiece& piece) const {
  return record(piece).pack->mapping().bytes().subspan(piece.offset_bytes, piece.size_bytes);
}

}  // namespace kvault
