#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "daemon/session_keys.hpp"

namespace kvault {

/// What the catalog of an encrypted store keeps in place of names, descriptions and labels: of a
/// name its keyed hash, by which it is found, and the rest sealed under the key of the session's
/// family, gone when that key is destroyed. Default-constructed: of a store that is not encrypted,
/// where everything stays as it is.
class CatalogSeal {
 public:
  CatalogSeal() = default;
  CatalogSeal(const SecretKey& name_key, std::shared_ptr<SessionKeys> keys)
      : name_key_(name_key), keys_(std::move(keys)) {}

  bool is_sealing() const { return keys_ != nullptr; }
  /// "" stays "".
  std::string name_column(std::string_view name) const;
  Result<std::vector<std::byte>> seal(const SessionId& family,
                                      std::span<const std::byte> plain) const;
  Result<std::vector<std::byte>> unseal(const SessionId& family,
                                        std::span<const std::byte> column) const;

 private:
  SecretKey name_key_;
  std::shared_ptr<SessionKeys> keys_;
};

}  // namespace kvault
