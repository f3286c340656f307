#pragma once

#include <cstdint>
#include <filesystem>
#include <map>

#include "core/base/result.hpp"
#include "core/format/session_key.hpp"

namespace kvault {

/// Where they lie in a store's directory.
inline constexpr const char* kKeysFolder = "keys";

/// Destroys every key in a folder of SessionKeys that nobody has open; where there is none all is
/// well. Durable when it returns.
Result<> destroy_all_keys(const std::filesystem::path& directory);

/// The keys of an encrypted store: one file for every family of sessions, sealed under a key of the
/// namespace (docs/format.md, section 7). To destroy the file is to destroy all that it sealed. One
/// thread at a time.
class SessionKeys final : public KeyFinder {
 public:
  /// `directory` is made where it is missing. wrapping_key: what the files are sealed under.
  static Result<SessionKeys> open(const std::filesystem::path& directory,
                                  const SecretKey& wrapping_key);

  /// A new key, durable when it returns. Errc::already_exists
  Result<> create(const SessionId& family);
  /// Read once, then kept in memory. Errc::not_found; corrupt where the file is damaged; permission
  /// where it is sealed under another key.
  Result<const SecretKey*> find(const SessionId& family) override;
  /// Overwrites the file and removes it; durable when it returns. Where there is none all is well.
  Result<> destroy(const SessionId& family);
  /// Of all files.
  std::uint64_t size_bytes() const;

 private:
  SessionKeys(std::filesystem::path directory, const SecretKey& wrapping_key)
      : directory_(std::move(directory)), wrapping_key_(wrapping_key) {}
  std::filesystem::path path_of(const SessionId& family) const;
  Result<> look_around();
  Result<SecretKey> read(const SessionId& family) const;

  std::filesystem::path directory_;
  SecretKey wrapping_key_;
  std::map<SessionId, SecretKey> known_;
  std::uint64_t n_file_ = 0;
};

}  // namespace kvault
