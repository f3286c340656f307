#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/result.hpp"
#include "sdk/adapters/llama/include/kvault/kvault_llama.h"
#include "sdk/adapters/llama/src/blob.hpp"

namespace kvault::llama {

/// One sequence of a llama_context, through the functions that were handed in. Borrows both. No
/// call reaches llama.cpp that could end the process: ids are checked first, and parts of a
/// sequence are only copied where there is one stream.
class Sequence {
 public:
  /// Errc::invalid_argument, out_of_range.
  static Result<Sequence> open(const kvault_llama_functions* functions,
                               const kvault_llama_sequence& given);

  const kvault_llama_sequence& given() const { return given_; }
  std::uint32_t n_ctx() const { return functions_->n_ctx(given_.context); }
  /// -1: it holds nothing.
  std::int32_t last_position() const;
  bool can_copy_parts() const;
  /// Of the whole sequence's state, without reading it.
  std::size_t state_bytes() const {
    return functions_->state_seq_get_size(given_.context, given_.seq_id);
  }

  Result<Blob> read() const { return read(given_.seq_id); }
  /// The tokens from a position on, by way of the scratch sequence. pre: can_copy_parts()
  Result<Blob> read_from(std::int32_t position) const;
  void clear() const;
  /// Whether llama.cpp took it; else the sequence is empty.
  bool write(std::span<const std::byte> blob) const;
  /// The same, of tokens behind those that the sequence holds, by way of the scratch sequence.
  /// pre: can_copy_parts()
  bool write_behind(std::span<const std::byte> blob) const;

 private:
  Sequence(const kvault_llama_functions* functions, const kvault_llama_sequence& given)
      : functions_(functions), given_(given) {}
  Result<Blob> read(std::int32_t seq_id) const;
  bool write(std::span<const std::byte> blob, std::int32_t seq_id) const;
  llama_memory_i* memory() const { return functions_->get_memory(given_.context); }

  const kvault_llama_functions* functions_;
  kvault_llama_sequence given_;
};

}  // namespace kvault::llama
