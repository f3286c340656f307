#include "sdk/src/session_load.hpp"

#include <algorithm>
#include <cstring>

#include "core/base/assert.hpp"
#include "core/os/file.hpp"

namespace kvault {
namespace {

Error damaged(const client::RecordPlace& record, const std::string& what) {
  return {
      Errc::corrupt,
      message(name_of(record.kind), " record at token ", record.first_token, " in ",
              record.pack_path.filename().string(), " at byte ", record.offset_bytes, ": ", what),
      __FILE__, __LINE__};
}

}  // namespace

Result<Cache> SessionLoader::load(const client::Progress& progress) {
  KVAULT_TRY(Cache cache, Cache::create(device_, options_));
  std::uint64_t total_bytes = 0;
  std::uint64_t done_bytes = 0;
  for (const client::RecordPlace& record : stored_.records) total_bytes += record.length_bytes;
  token_ids_.assign(stored_.info.n_token, 0);
  first_tail_token_ = stored_.info.n_token;
  for (const client::RecordPlace& stored : stored_.records) {
    KVAULT_TRY(const OpenRecord record, open_record(stored));
    switch (stored.kind) {
      case RecordKind::page:
        KVAULT_CHECK(load_page(cache, record));
        break;
      case RecordKind::tail:
        KVAULT_CHECK(load_tail(cache, stored, record));
        break;
      case RecordKind::snapshot:
        KVAULT_CHECK(load_snapshot(cache, record));
        break;
      default:
        return tl::unexpected(damaged(stored, "a session has no records of this kind"));
    }
    KVAULT_CHECK(keep_token_ids(stored, record));
    done_bytes += stored.length_bytes;
    if (progress && !progress(done_bytes, total_bytes)) {
      return fail(Errc::cancelled,
                  message("cancelled after ", done_bytes, " of ", total_bytes, " bytes"));
    }
  }
  KVAULT_CHECK(settle(cache));
  // Pages are on their way while the next are read and checked; only the end waits.
  if (last_upload_) KVAULT_CHECK(device_.wait(*last_upload_));
  return cache;
}

Result<std::shared_ptr<SessionLoader::Pack>> SessionLoader::open_pack(
    const client::RecordPlace& record) {
  const std::uint64_t end_bytes = record.offset_bytes + record.length_bytes;
  const auto known = packs_.find(record.pack_path);
  if (known != packs_.end() && known->second->mapping.bytes().size() >= end_bytes) {
    return known->second;
  }
  KVAULT_TRY(const File file, File::open_read_only(record.pack_path));
  KVAULT_TRY(const std::uint64_t size_bytes, file.size_bytes());
  if (size_bytes < end_bytes) {
    return tl::unexpected(damaged(
        record, message("the pack ends at byte ", size_bytes, ", the record at ", end_bytes)));
  }
  auto pack = std::make_shared<Pack>();
  KVAULT_TRY(pack->mapping, Mapping::create(file, size_bytes));
  if (device_.caps().adopts_host_memory && !copy_) KVAULT_CHECK(adopt(*pack));
  packs_[record.pack_path] = pack;
  return pack;
}

/// A driver may refuse one pack, say for its size: that one's pages are copied.
Result<> SessionLoader::adopt(Pack& pack) {
  Result<std::unique_ptr<Buffer>> buffer = device_.allocate({.host_memory = pack.mapping.bytes()});
  if (buffer) {
    pack.buffer = std::move(*buffer);
    return {};
  }
  const Errc code = buffer.error().code;
  if (code == Errc::out_of_memory || code == Errc::unsupported) return {};
  return tl::unexpected(buffer.error());
}

Result<SessionLoader::OpenRecord> SessionLoader::open_record(const client::RecordPlace& stored) {
  OpenRecord record;
  KVAULT_TRY(record.pack, open_pack(stored));
  const std::span<const std::byte> bytes =
      record.pack->mapping.bytes().subspan(stored.offset_bytes, stored.length_bytes);
  KVAULT_TRY(record.header, parse_head(bytes));
  if (record.header.checksum != stored.checksum || record.header.kind != stored.kind ||
      record.header.first_token != stored.first_token || record.header.n_token < stored.n_token ||
      record.header.length_bytes != stored.length_bytes) {
    return tl::unexpected(damaged(stored, "it is not the record the session names"));
  }
  KVAULT_TRY(record.meta, parse_payload_meta(record.header, bytes));
  record.payload_offset_bytes = stored.offset_bytes + record.header.payload_offset;
  record.payload = bytes.subspan(record.header.payload_offset, record.header.payload_bytes);
  for (const Chunk& chunk : record.meta.chunks) {
    const auto part = record.payload.subspan(chunk.offset_bytes, chunk.size_bytes);
    if (payload_checksum(part) != chunk.checksum) {
      return tl::unexpected(
          damaged(stored, message("layer ", chunk.layer, ", ", name_of(chunk.kind),
                                  ": the checksum does not match")));
    }
  }
  return record;
}

Result<> SessionLoader::load_page(Cache& cache, const OpenRecord& record) {
  for (const Chunk& chunk : record.meta.chunks) {
    if (chunk.kind == ChunkKind::segment) {
      KVAULT_CHECK(load_segment(cache, record, chunk));
    } else if (chunk.kind == ChunkKind::equaliser) {
      load_equaliser(cache, record, chunk);
    }
  }
  return {};
}

void SessionLoader::load_equaliser(Cache& cache, const OpenRecord& record, const Chunk& chunk) {
  const auto part = record.payload.subspan(chunk.offset_bytes, chunk.size_bytes);
  std::vector<Half> vector(part.size() / sizeof(Half));
  std::memcpy(vector.data(), part.data(), part.size());
  cache.layer(LayerIndex(chunk.layer)).restore_equaliser(vector);
}

Result<> SessionLoader::load_segment(Cache& cache, const OpenRecord& record, const Chunk& chunk) {
  LayerCache& layer = cache.layer(LayerIndex(chunk.layer));
  const std::uint64_t page = record.header.first_token / kPageTokens;
  const auto bytes = record.payload.subspan(chunk.offset_bytes, chunk.size_bytes);
  const bool slides = layer.spec().kind == LayerKind::sliding_window;
  const bool is_sink = page == 0 && options_.raw_policy == RawPolicy::sink_and_tail;
  const bool is_raw = std::all_of(chunk.formats.begin(), chunk.formats.end(), [&](BlockFormat f) {
    return f == BlockFormat::raw(layer.row_type());
  });
  if ((slides || is_sink) && !is_raw) {
    return fail(Errc::identity_mismatch,
                message("page ", page, ", layer ", chunk.layer,
                        " is coded, but has to be raw: the session was saved without raw pages"));
  }
  if (slides) {
    SlidePages& pages = slide_pages_[chunk.layer];
    if (pages.end != page) pages.first = page;
    pages.end = page + 1;
    return layer.restore_segment(device_, page, {}, bytes);
  }
  std::shared_ptr<const Buffer> buffer;
  std::uint64_t offset_bytes = record.payload_offset_bytes + chunk.offset_bytes;
  if (record.pack->buffer != nullptr) {
    // The buffer lives as long as its pack's mapping: the segment holds both.
    buffer = std::shared_ptr<const Buffer>(record.pack, record.pack->buffer.get());
  } else {
    KVAULT_TRY(std::unique_ptr<Buffer> copy, device_.allocate({.size_bytes = bytes.size()}));
    KVAULT_TRY(last_upload_, device_.upload(*copy, 0, bytes));
    buffer = std::move(copy);
    offset_bytes = 0;
  }
  Segment segment = Segment::at(layer.spec(), std::move(buffer), offset_bytes, chunk.formats);
  if (segment.size_bytes != chunk.size_bytes) {
    return fail(Errc::corrupt, message("page ", page, ", layer ", chunk.layer, ": a segment of ",
                                       chunk.size_bytes, " bytes, not ", segment.size_bytes));
  }
  return layer.restore_segment(device_, page, std::move(segment), bytes);
}

Result<> SessionLoader::load_tail(Cache& cache, const client::RecordPlace& stored,
                                  const OpenRecord& record) {
  if (stored.n_token == 0) return {};
  const bool continues = first_tail_token_ < stored_.info.n_token;
  if (!continues) first_tail_token_ = stored.first_token;
  for (const Chunk& chunk : record.meta.chunks) {
    if (chunk.kind == ChunkKind::rows) KVAULT_CHECK(load_rows(cache, stored, record, chunk));
    if (chunk.kind == ChunkKind::equaliser) load_equaliser(cache, record, chunk);
    if (chunk.kind == ChunkKind::query_energy) load_energy(cache, stored, record, chunk);
  }
  return {};
}

Result<> SessionLoader::load_rows(Cache& cache, const client::RecordPlace& stored,
                                  const OpenRecord& record, const Chunk& chunk) {
  LayerCache& layer = cache.layer(LayerIndex(chunk.layer));
  const LayerSpec& spec = layer.spec();
  const std::byte* const keys = record.payload.data() + chunk.offset_bytes;
  const RowsView key_rows = RowsView::dense(keys, layer.row_type(), record.header.n_token,
                                            spec.n_kv_head, spec.key_head_dim);
  const std::uint64_t key_bytes = std::uint64_t{record.header.n_token} *
                                  static_cast<std::uint64_t>(key_rows.token_stride_bytes);
  const RowsView value_rows =
      RowsView::dense(keys + key_bytes, layer.row_type(), record.header.n_token, spec.n_kv_head,
                      spec.value_head_dim);
  // Rows of pages that are not in the raw pages any more have no place, and no use.
  const std::uint64_t first =
      std::max(stored.first_token, raw_begin(cache, chunk.layer) * kPageTokens);
  const std::uint64_t end = stored.first_token + stored.n_token;
  const auto restore = [&](std::uint64_t from, std::uint64_t to) -> Result<> {
    if (from >= to) return {};
    const auto skipped = static_cast<std::uint32_t>(from - stored.first_token);
    const auto n = static_cast<std::uint32_t>(to - from);
    KVAULT_CHECK(layer.restore_rows(device_, Side::key, from, key_rows.part(skipped, n)));
    return layer.restore_rows(device_, Side::value, from, value_rows.part(skipped, n));
  };
  // The first page has a place of its own.
  KVAULT_CHECK(restore(stored.first_token, std::min<std::uint64_t>(end, kPageTokens)));
  return restore(std::max<std::uint64_t>(first, kPageTokens), end);
}

void SessionLoader::load_energy(Cache& cache, const client::RecordPlace& stored,
                                const OpenRecord& record, const Chunk& chunk) {
  const LayerSpec& spec = cache.layer(LayerIndex(chunk.layer)).spec();
  const std::size_t row = std::size_t{spec.n_kv_head} * spec.key_head_dim;
  std::vector<float>& energy = energy_[chunk.layer];
  if (energy.size() != stored.first_token * row) return;
  const std::size_t n = std::size_t{stored.n_token} * row;
  const std::size_t before = energy.size();
  energy.resize(before + n);
  std::memcpy(energy.data() + before, record.payload.data() + chunk.offset_bytes,
              n * sizeof(float));
}

Result<> SessionLoader::load_snapshot(Cache& cache, const OpenRecord& record) {
  for (const Chunk& chunk : record.meta.chunks) {
    const auto part = record.payload.subspan(chunk.offset_bytes, chunk.size_bytes);
    RecurrentState& state = cache.recurrent(LayerIndex(chunk.layer));
    state.set(record.header.first_token, part);
    state.keep();
  }
  return {};
}

Result<> SessionLoader::keep_token_ids(const client::RecordPlace& stored,
                                       const OpenRecord& record) {
  if (stored.first_token + stored.n_token > token_ids_.size()) {
    return tl::unexpected(
        damaged(stored, message("it reaches past the session's ", token_ids_.size(), " tokens")));
  }
  std::copy_n(record.meta.token_ids.begin(), stored.n_token,
              token_ids_.begin() + static_cast<std::ptrdiff_t>(stored.first_token));
  return {};
}

/// The least page >= 1 whose raw rows the stored session has and the layer has room for.
std::uint64_t SessionLoader::raw_begin(const Cache& cache, std::uint32_t layer) const {
  const LayerCache& target = cache.layer(LayerIndex(layer));
  const std::uint64_t n_ring = target.n_ring();
  const std::uint64_t last_page =
      stored_.info.n_token == 0 ? 0 : (stored_.info.n_token - 1) / kPageTokens;
  std::uint64_t first = last_page + 1 > n_ring ? last_page + 1 - n_ring : 1;
  std::uint64_t first_stored = (first_tail_token_ + kPageTokens - 1) / kPageTokens;
  const auto slide = slide_pages_.find(layer);
  if (slide != slide_pages_.end() && slide->second.end >= first_stored) {
    first_stored = std::min(first_stored, slide->second.first);
  }
  return std::max<std::uint64_t>({1, first, std::min(first_stored, stored_.info.n_page + 1)});
}

Result<> SessionLoader::settle(Cache& cache) {
  for (std::uint32_t index = 0; index < cache.n_layer(); ++index) {
    if (!options_.shape.layers[index].has_attention()) continue;
    LayerCache& layer = cache.layer(LayerIndex(index));
    std::uint64_t first_raw = raw_begin(cache, index);
    if (options_.raw_policy == RawPolicy::sink_and_tail && stored_.info.n_page >= 1 &&
        layer.spec().kind == LayerKind::full_attention) {
      for (std::uint64_t page = 1; page < stored_.info.n_page; ++page) {
        if (layer.has_segment(page)) continue;
        return fail(Errc::corrupt, message("layer ", index, ": page ", page, " is missing"));
      }
    }
    if (stored_.info.n_page >= 1 && !layer.equaliser().is_fixed()) layer.restore_equaliser({});
    const auto energy = energy_.find(index);
    if (energy != energy_.end() && !layer.equaliser().is_fixed()) {
      layer.restore_energy(energy->second);
    }
    layer.restore_position(stored_.info.n_token, first_raw);
  }
  if (cache.n_token().raw == stored_.info.n_token && cache.is_level()) return {};
  return fail(Errc::corrupt, message("the stored layers end at ", cache.n_token().raw,
                                     " tokens, the session at ", stored_.info.n_token));
}

}  // namespace kvault
