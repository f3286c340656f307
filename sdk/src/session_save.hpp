#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/cache/cache.hpp"
#include "core/format/record_check.hpp"
#include "core/format/row_packing.hpp"

namespace kvault {

/// A record ready to be sent: its draft, and the bytes of every chunk of draft.meta.chunks.
struct OutgoingRecord {
  RecordDraft draft;
  std::vector<std::vector<std::byte>> chunks;

  /// The chunks as client::RecordUpload wants them; borrows.
  std::vector<std::span<const std::byte>> pieces() const { return {chunks.begin(), chunks.end()}; }
};

/// Turns the state of a level cache into records (docs/format.md, section 4). Borrows the cache.
class SessionSaver {
 public:
  /// token_ids [cache.n_token()]: of all tokens. packs: raw rows are packed (where that makes them
  /// less), as they may be if the session is not sealed.
  SessionSaver(Cache& cache, std::span<const std::uint32_t> token_ids, bool packs)
      : cache_(cache), token_ids_(token_ids), packs_(packs) {}

  /// Page `page`, sealed: one segment per attention layer (a sliding window's only while its rows
  /// are there); with page 0 the equalisers. pre: page < cache.n_sealed_page()
  Result<OutgoingRecord> page(std::uint64_t page);
  /// Raw rows of tokens [first, cache.n_token()). pre: they are raw in every layer
  Result<OutgoingRecord> tail(std::uint64_t first);
  /// The recurrent layers' states of now. pre: there is such a layer
  Result<OutgoingRecord> snapshot();

  /// Pages [0, n) are saved as pages, what is behind them as rows: the tail, and the page of
  /// history before it, which is sealed in the cache but still raw; whoever loads it seals it anew.
  std::uint64_t n_page() const;
  /// The first row a tail record should hold if everything before `saved_n_token` is saved.
  std::uint64_t first_tail_token(std::uint64_t saved_n_token) const;
  bool has_recurrent_layer() const;

 private:
  Result<> add_segment(std::uint32_t layer, std::uint64_t page, OutgoingRecord& record);
  void add_equaliser(std::uint32_t layer, OutgoingRecord& record);
  Result<> add_rows(std::uint32_t layer, std::uint64_t first, OutgoingRecord& record);
  void add_energy(std::uint32_t layer, std::uint64_t first, OutgoingRecord& record);
  void add_raw(OutgoingRecord& record, Chunk chunk, std::vector<std::byte> bytes,
               std::size_t packed_bytes_max);

  Cache& cache_;
  std::span<const std::uint32_t> token_ids_;
  bool packs_;
  RowPacker packer_;
  std::vector<std::byte> unpacked_;  ///< memory of rows that were packed, for the next ones
};

}  // namespace kvault
