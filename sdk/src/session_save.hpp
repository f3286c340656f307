#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/cache/cache.hpp"
#include "core/format/record_check.hpp"
#include "sdk/src/record_maker.hpp"

namespace kvault {

/// Turns the state of a level cache into records (docs/format.md, section 4). Borrows the cache.
class SessionSaver {
 public:
  /// token_ids [cache.n_token()]: of all tokens. packs: raw rows are packed (where that makes them
  /// less), as they may be if the session is not sealed.
  SessionSaver(Cache& cache, std::span<const std::uint32_t> token_ids, bool packs)
      : cache_(cache),
        token_ids_(token_ids),
        maker_(size_bytes_of(cache.options().shape.row_type), packs) {}

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
  Result<> add_segment(std::uint32_t layer, std::uint64_t page);
  void add_equaliser(std::uint32_t layer);
  Result<> add_rows(std::uint32_t layer, std::uint64_t first);
  void add_energy(std::uint32_t layer, std::uint64_t first);

  Cache& cache_;
  std::span<const std::uint32_t> token_ids_;
  RecordMaker maker_;
};

}  // namespace kvault
