#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/cache/cache.hpp"
#include "core/format/record.hpp"
#include "core/os/mapping.hpp"
#include "sdk/src/client_types.hpp"

namespace kvault {

/// Builds a cache from a stored session. Every checksum is verified before the bytes are used;
/// sealed segments are attended where they lie in the mapped packs (if the device adopts host
/// memory and `copy` is not asked for), so the cache keeps the mappings alive.
class SessionLoader {
 public:
  SessionLoader(Device& device, const CacheOptions& options, const client::Attachment& stored,
                bool copy)
      : device_(device), options_(options), stored_(stored), copy_(copy) {}

  Result<Cache> load(const client::Progress& progress);
  /// The ids of all tokens, [n_token]. pre: load() succeeded
  std::vector<std::uint32_t> take_token_ids() { return std::move(token_ids_); }

 private:
  struct Pack {
    Mapping mapping;
    std::shared_ptr<const Buffer> buffer;  ///< adopts the mapping, where the device can
  };
  struct OpenRecord {
    RecordHeader header;
    PayloadMeta meta;
    std::shared_ptr<Pack> pack;
    std::uint64_t payload_offset_bytes = 0;  ///< from the start of the pack
    std::span<const std::byte> payload;
  };

  Result<std::shared_ptr<Pack>> open_pack(const client::RecordPlace& record);
  Result<> adopt(Pack& pack);
  Result<OpenRecord> open_record(const client::RecordPlace& record);
  Result<> load_page(Cache& cache, const OpenRecord& record);
  void load_equaliser(Cache& cache, const OpenRecord& record, const Chunk& chunk);
  Result<> load_segment(Cache& cache, const OpenRecord& record, const Chunk& chunk);
  Result<> load_tail(Cache& cache, const client::RecordPlace& stored, const OpenRecord& record);
  Result<> load_rows(Cache& cache, const client::RecordPlace& stored, const OpenRecord& record,
                     const Chunk& chunk);
  void load_energy(Cache& cache, const client::RecordPlace& stored, const OpenRecord& record,
                   const Chunk& chunk);
  Result<> load_snapshot(Cache& cache, const OpenRecord& record);
  Result<> keep_token_ids(const client::RecordPlace& stored, const OpenRecord& record);
  Result<> settle(Cache& cache);
  std::uint64_t raw_begin(const Cache& cache, std::uint32_t layer) const;

  Device& device_;
  const CacheOptions& options_;
  const client::Attachment& stored_;
  bool copy_;
  std::map<std::filesystem::path, std::shared_ptr<Pack>> packs_;
  std::optional<Ticket> last_upload_;
  std::vector<std::uint32_t> token_ids_;
  std::uint64_t first_tail_token_ = 0;                  ///< tails cover [this, n_token)
  std::map<std::uint32_t, std::vector<float>> energy_;  ///< [layer], while contiguous from 0
  /// The newest run of pages whose rows a sliding-window layer has: [first, end).
  struct SlidePages {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
  };
  std::map<std::uint32_t, SlidePages> slide_pages_;  ///< [layer]
};

}  // namespace kvault
