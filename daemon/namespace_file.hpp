#pragma once

#include <filesystem>

#include "core/base/result.hpp"
#include "core/seal/secret_key.hpp"

/// A namespace on the disk: a directory with a store and the file `namespace`, which says who may
/// enter and whether the store is encrypted (docs/format.md, section 7).
namespace kvault {

/// Makes the namespace, durable when it returns. Errc::already_exists
Result<> create_namespace(const std::filesystem::path& directory, const SecretKey& token,
                          bool is_encrypted);
/// Whether the namespace is encrypted, for who has its token. Errc::not_found; permission: another
/// token; corrupt, unknown_format.
Result<bool> enter_namespace(const std::filesystem::path& directory, const SecretKey& token);
/// Removes a namespace whose store is closed: once its directory has another name nobody enters it
/// any more; then the keys of its sessions are destroyed, and all files removed. Durable when it
/// returns. After an error it is there as before, or finish_removals() goes on.
Result<> remove_namespace(const std::filesystem::path& directory);
/// Ends what remove_namespace() has begun in the directory of all namespaces.
Result<> finish_removals(const std::filesystem::path& folder);

}  // namespace kvault
