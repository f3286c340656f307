#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <span>

#include "core/base/result.hpp"
#include "core/format/record.hpp"
#include "core/format/record_check.hpp"
#include "core/seal/secret_key.hpp"

namespace kvault {

/// 32 secret random bytes per store: page keys of different stores cannot be compared.
using NamespaceKey = std::array<std::byte, 32>;

/// Reads the key file, or makes one (mode 0600, durable) where there is none. A file of another
/// size is Errc::corrupt.
Result<NamespaceKey> load_or_create_namespace_key(const std::filesystem::path& path);

/// The one of an encrypted store, or of a family of its sessions.
NamespaceKey page_secret(const SecretKey& key);

/// The key of a page: BLAKE2b-256 under `secret` over the parent's key, the identity and shape
/// (serialise_identity()), the record version, the page's place, its token ids and its equalisers.
PageKey page_key(const NamespaceKey& secret, const PageKey& parent,
                 std::span<const std::byte> identity, const RecordDraft& page);

}  // namespace kvault
