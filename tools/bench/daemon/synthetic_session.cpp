#include "tools/bench/daemon/synthetic_session.hpp"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "core/format/row_packing.hpp"
#include "core/layout/block_layout.hpp"
#include "tools/bench/random_block.hpp"

namespace kvault::tools {
namespace {

constexpr std::uint32_t kLayers = 32;
constexpr LayerSpec kLayer = {.kind = LayerKind::full_attention,
                              .n_head = 32,
                              .n_kv_head = 8,
                              .key_head_dim = 128,
                              .value_head_dim = 128,
                              .key_scheme = Scheme::tq4,
                              .value_scheme = Scheme::tq4};

/// Makes records and sends them, one at a time.
class Filler {
 public:
  Filler(Client& client, const client::SessionInfo& info) : client_(client), info_(info) {}

  Result<> put_page(std::uint64_t page) {
    const bool is_sink = page == 0;
    const BlockFormat raw = BlockFormat::raw(RowType::f16);
    std::vector<BlockFormat> formats(kLayer.n_kv_head,
                                     is_sink ? raw : BlockFormat::coded(kLayer.key_scheme, true));
    formats.resize(std::size_t{2} * kLayer.n_kv_head,
                   is_sink ? raw : BlockFormat::coded(kLayer.value_scheme, false));
    begin(RecordKind::page, page * kPageTokens, kPageTokens);
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) add_segment(layer, formats);
    return put();
  }

  Result<> put_tail(std::uint64_t first, std::uint64_t last) {
    begin(RecordKind::tail, first, static_cast<std::uint32_t>(last - first));
    const std::size_t n = (last - first) * kLayer.n_kv_head * 2 * kLayer.key_head_dim;
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      std::vector<std::byte> bytes(n * sizeof(Half));
      for (std::size_t i = 0; i < n; ++i) {
        const Half value = blocks_.normal();
        std::memcpy(bytes.data() + i * sizeof value, &value, sizeof value);
      }
      add_raw_chunk({.kind = ChunkKind::rows, .layer = layer}, std::move(bytes));
    }
    return put();
  }

 private:
  void begin(RecordKind kind, std::uint64_t first, std::uint32_t n_token) {
    draft_ = {.kind = kind, .first_token = first, .n_token = n_token};
    chunks_.clear();
    for (std::uint32_t i = 0; i < n_token; ++i) {
      draft_.meta.token_ids.push_back(static_cast<std::uint32_t>(first) + i);
    }
  }

  void add_segment(std::uint32_t layer, const std::vector<BlockFormat>& formats) {
    std::uint64_t size_bytes = 0;
    for (const BlockFormat format : formats) size_bytes += BlockLayout::of(format, 128).size_bytes;
    std::vector<std::byte> bytes(size_bytes);
    std::byte* block = bytes.data();
    for (const BlockFormat format : formats) {
      blocks_.fill(format, block);
      block += BlockLayout::of(format, 128).size_bytes;
    }
    Chunk chunk = {.kind = ChunkKind::segment, .layer = layer, .formats = formats};
    if (formats[0].is_raw()) return add_raw_chunk(std::move(chunk), std::move(bytes));
    add_chunk(std::move(chunk), std::move(bytes));
  }

  /// As a save packs them.
  void add_raw_chunk(Chunk chunk, std::vector<std::byte> bytes) {
    if (!client_.seals(info_.id)) {
      const std::span<const std::byte> packed = packer_.pack(bytes, sizeof(Half), bytes.size() - 1);
      chunk.is_packed = !packed.empty();
      if (chunk.is_packed) bytes = {packed.begin(), packed.end()};
    }
    add_chunk(std::move(chunk), std::move(bytes));
  }

  void add_chunk(Chunk chunk, std::vector<std::byte> bytes) {
    chunk.size_bytes = bytes.size();
    chunk.checksum = payload_checksum(bytes);
    draft_.meta.chunks.push_back(std::move(chunk));
    chunks_.push_back(std::move(bytes));
  }

  Result<> put() {
    draft_.payload_bytes = place_chunks(draft_.meta.chunks);
    const std::vector<std::span<const std::byte>> pieces(chunks_.begin(), chunks_.end());
    return client_.put_record(info_.id, {draft_, pieces});
  }

  Client& client_;
  const client::SessionInfo& info_;
  RandomBlocks blocks_{128};
  RecordDraft draft_;
  std::vector<std::vector<std::byte>> chunks_;
  RowPacker packer_;
};

}  // namespace

CacheOptions synthetic_cache_options() {
  CacheOptions options;
  options.shape.row_type = RowType::f16;
  options.shape.layers.assign(kLayers, kLayer);
  return options;
}

SessionDescription describe_synthetic(const std::string& name) {
  SessionDescription description;
  description.name = name;
  description.identity = {{"model", "random blocks"}};
  description.shape = synthetic_cache_options().shape;
  return description;
}

Result<client::SessionInfo> store_synthetic_session(Client& client, const std::string& name,
                                                    std::uint64_t n_token) {
  const SessionDescription description = describe_synthetic(name);
  KVAULT_TRY(const client::Session created, client.create_session(description));
  KVAULT_TRY(const client::Session session,
             client.open_session(name, &description, client::OpenMode::write));
  Filler filler(client, session.info);
  // The page before the tail is there as rows, as a save does it.
  const std::uint64_t n_page = n_sealed_page_at(n_token, RawPolicy::sink_and_tail) - 1;
  for (std::uint64_t page = 0; page < n_page; ++page) KVAULT_CHECK(filler.put_page(page));
  KVAULT_CHECK(filler.put_tail(n_page * kPageTokens, n_token));
  KVAULT_CHECK(client.commit(session.info.id, {.expected_commit_number = 0, .n_token = n_token}));
  KVAULT_CHECK(client.close_session(session.info.id));
  KVAULT_TRY(const client::Session stored, client.inspect(name));
  return stored.info;
}

}  // namespace kvault::tools
