#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tests/support/upload.hpp"

namespace kvault::torture {

using test::page_upload;
using test::sealed;
using test::small_session;
using test::snapshot_upload;
using test::tail_upload;
using test::Upload;

bool has_recurrent_layers(const ModelShape& shape);

/// Text that several chats begin with: of each prompt the tokens from `first` on.
std::vector<std::uint32_t> prompt_tokens(std::uint32_t prompt, std::uint64_t first,
                                         std::uint32_t count);
/// Equal for equal tokens.
std::uint64_t seed_of(std::span<const std::uint32_t> token_ids);

/// The secret of every encrypted store and the token of every namespace here.
SecretKey test_secret();

}  // namespace kvault::torture
