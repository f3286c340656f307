#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/cache/cache.hpp"
#include "core/format/record.hpp"
#include "core/format/row_packing.hpp"
#include "sdk/src/client_types.hpp"
#include "sdk/src/mapped_pack.hpp"

namespace kvault {

/// A record of a stored session, its head verified.
struct StoredRecord {
  client::RecordPlace place;
  std::uint32_t n_token = 0;  ///< rows that it holds, of which place.n_token exist
  std::shared_ptr<const MappedPack> pack;
};

/// One chunk of one layer. Its bytes are not verified.
struct StoredPiece {
  ChunkKind kind = ChunkKind::segment;
  std::uint32_t record = 0;        ///< whose it is
  std::uint64_t offset_bytes = 0;  ///< in the pack
  std::uint64_t size_bytes = 0;
  std::uint64_t checksum = 0;
  std::uint32_t first_format = 0;  ///< of its layer's formats
  std::uint32_t n_format = 0;
  std::uint64_t packed_from_bytes = 0;  ///< what it unpacks to; 0: it is not packed
  std::vector<std::byte> plain{};       ///< of a sealed or packed piece, once open() was called
};

/// All that is stored of one layer: pages, then tails, then snapshots, each by token.
struct StoredLayer {
  std::vector<StoredPiece> pieces;
  std::vector<BlockFormat> formats;
  std::uint64_t size_bytes = 0;
  /// The least page >= 1 whose raw rows are stored and have a place in the cache.
  std::uint64_t raw_begin = 1;
};

/// What a stored session consists of and where it lies, layer by layer: the first half of a
/// restore, which reads the heads of records and none of their payload.
class SessionIndex {
 public:
  /// Maps the packs and reads the heads. Errc::not_found or busy: a pack is going, attach anew.
  /// Errc::corrupt, truncated, unknown_format, identity_mismatch. copies: no pack is adopted.
  static Result<SessionIndex> read(const Cache& cache, client::Attachment stored, bool copies);

  const client::SessionInfo& info() const { return info_; }
  const StoredRecord& record(const StoredPiece& piece) const { return records_[piece.record]; }
  /// [layer]
  std::vector<StoredLayer>& layers() { return layers_; }
  const std::vector<StoredLayer>& layers() const { return layers_; }
  /// The ids of all tokens, [info().n_token].
  std::vector<std::uint32_t> take_token_ids() { return std::move(token_ids_); }

  /// As they were saved: of a sealed or packed piece what open() found.
  std::span<const std::byte> bytes_of(const StoredPiece& piece) const;
  /// As they are stored, to be verified.
  std::span<const std::byte> stored_bytes_of(const StoredPiece& piece) const;
  /// Unseals or unpacks it. Errc::corrupt. Pieces may be opened side by side, with an unpacker
  /// each.
  Result<> open(LayerIndex layer, StoredPiece& piece, RowUnpacker& unpacker) const;
  /// "page record at token 128 in pages-000001.pack at byte 4096: <what>"
  static Error damaged(const client::RecordPlace& record, const std::string& what);

 private:
  /// The newest run of pages whose rows a sliding-window layer has: [first, end).
  struct SlidePages {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
  };
  using Packs = std::map<std::filesystem::path, std::shared_ptr<MappedPack>>;

  SessionIndex(const Cache& cache, client::SessionInfo info)
      : info_(std::move(info)),
        layers_(cache.n_layer()),
        token_ids_(info_.n_token),
        has_page_(info_.n_page),
        first_tail_token_(info_.n_token),
        slide_pages_(cache.n_layer()),
        row_type_(cache.options().shape.row_type) {}

  Result<> open_packs(Device& device, std::vector<client::RecordPlace> places, bool copies);
  Result<> read_head(const Cache& cache, std::uint32_t number);
  Result<> add_pieces(const Cache& cache, std::uint32_t number, const RecordHeader& header,
                      const PayloadMeta& meta);
  Result<> add_segment(const Cache& cache, std::uint64_t page, const Chunk& chunk);
  Result<> keep_token_ids(const client::RecordPlace& place, const PayloadMeta& meta);
  Result<> finish(const Cache& cache);
  Result<> check_newest_state(std::uint32_t layer) const;
  void forget_slid_pages(StoredLayer& layer);
  std::uint64_t raw_begin(const LayerCache& layer, const SlidePages& slide) const;

  client::SessionInfo info_;
  std::optional<SessionKey> key_;
  std::vector<StoredRecord> records_;
  std::vector<StoredLayer> layers_;
  std::vector<std::uint32_t> token_ids_;
  std::vector<bool> has_page_;           ///< [n_page]
  std::uint64_t first_tail_token_;       ///< tails cover [this, n_token)
  std::vector<SlidePages> slide_pages_;  ///< [layer]
  RowType row_type_;
};

}  // namespace kvault
