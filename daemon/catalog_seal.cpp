#include "daemon/catalog_seal.hpp"

#include <sodium.h>

#include <array>

#include "core/seal/seal.hpp"

namespace kvault {
namespace {

constexpr std::string_view kContext = "kvault catalog";

std::span<const std::byte> context() {
  return std::as_bytes(std::span(kContext.data(), kContext.size()));
}

}  // namespace

std::string CatalogSeal::name_column(std::string_view name) const {
  if (!is_sealing() || name.empty()) return std::string(name);
  std::array<std::byte, kSecretKeySize> bytes{};
  crypto_generichash(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(),
                     reinterpret_cast<const unsigned char*>(name.data()), name.size(),
                     reinterpret_cast<const unsigned char*>(name_key_.bytes().data()),
                     kSecretKeySize);
  std::string text(2 * bytes.size() + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                 bytes.size());
  text.pop_back();
  return text;
}

Result<std::vector<std::byte>> CatalogSeal::seal(const SessionId& family,
                                                 std::span<const std::byte> plain) const {
  if (!is_sealing()) return std::vector<std::byte>(plain.begin(), plain.end());
  KVAULT_TRY(const SecretKey* key, keys_->find(family));
  return kvault::seal(*key, plain, context());
}

Result<std::vector<std::byte>> CatalogSeal::unseal(const SessionId& family,
                                                   std::span<const std::byte> column) const {
  if (!is_sealing()) return std::vector<std::byte>(column.begin(), column.end());
  const Result<const SecretKey*> key = keys_->find(family);
  // The catalog names a session that nobody can read: it is the catalog that is wrong.
  if (!key && key.error().code == Errc::not_found) return fail(Errc::corrupt, key.error().message);
  if (!key) return tl::unexpected<Error>(key.error());
  return kvault::unseal(**key, column, context());
}

}  // namespace kvault
