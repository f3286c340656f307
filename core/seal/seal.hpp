#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/seal/secret_key.hpp"

/// Sealing: XChaCha20-Poly1305 (libsodium; draft-irtf-cfrg-xchacha-03) under a random nonce, which
/// may be drawn for any number of messages under one key. Sealed bytes are the nonce, what is
/// hidden, and the tag; whoever lacks the key can neither read nor change them unnoticed.
namespace kvault {

/// What sealing adds: a nonce of 24 bytes and a tag of 16.
inline constexpr std::uint64_t kSealBytes = 40;

/// `context` is not hidden; unseal() must be given the same bytes.
std::vector<std::byte> seal(const SecretKey& key, std::span<const std::byte> plain,
                            std::span<const std::byte> context);
/// Errc::corrupt: not what was sealed under this key with this context.
Result<std::vector<std::byte>> unseal(const SecretKey& key, std::span<const std::byte> sealed,
                                      std::span<const std::byte> context);

}  // namespace kvault
