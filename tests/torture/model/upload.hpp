#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/format/description.hpp"
#include "core/format/record_check.hpp"
#include "core/format/session_key.hpp"

namespace kvault::torture {

/// A record to store, with its bytes.
struct Upload {
  RecordDraft draft;
  std::vector<std::byte> payload;
};

/// One full-attention layer, one sliding window, and a recurrent layer where asked for.
SessionDescription describe(std::string name, bool is_recurrent);
bool has_recurrent_layers(const ModelShape& shape);

/// Text that several chats begin with: of each prompt the tokens from `first` on.
std::vector<std::uint32_t> prompt_tokens(std::uint32_t prompt, std::uint64_t first,
                                         std::uint32_t count);
/// Equal for equal tokens.
std::uint64_t seed_of(std::span<const std::uint32_t> token_ids);

/// Random bytes of the right sizes and checksums; other bytes for another seed.
Upload page_upload(const ModelShape& shape, std::uint64_t page,
                   std::span<const std::uint32_t> token_ids, std::uint64_t seed,
                   bool has_windows = true);
Upload tail_upload(const ModelShape& shape, std::uint64_t first_token,
                   std::span<const std::uint32_t> token_ids, std::uint64_t seed);
Upload snapshot_upload(const ModelShape& shape, std::uint64_t position, std::uint64_t seed);

/// The secret of every encrypted store and the token of every namespace here.
SecretKey test_secret();
/// As a client of an encrypted namespace sends it.
Upload sealed(const SessionKey& key, const Upload& plain);

}  // namespace kvault::torture
