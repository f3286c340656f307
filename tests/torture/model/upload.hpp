#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/format/description.hpp"
#include "core/format/record_check.hpp"

namespace kvault::torture {

/// A record to store, with its bytes.
struct Upload {
  RecordDraft draft;
  std::vector<std::byte> payload;
};

/// One full-attention layer, one sliding window, and a recurrent layer where asked for.
SessionDescription describe(std::string name, bool is_recurrent);
bool has_recurrent_layers(const ModelShape& shape);

/// Random bytes of the right sizes and checksums; other bytes for another seed.
Upload page_upload(const ModelShape& shape, std::uint64_t page,
                   std::span<const std::uint32_t> token_ids, std::uint64_t seed);
Upload tail_upload(const ModelShape& shape, std::uint64_t first_token,
                   std::span<const std::uint32_t> token_ids, std::uint64_t seed);
Upload snapshot_upload(const ModelShape& shape, std::uint64_t position, std::uint64_t seed);

}  // namespace kvault::torture
