#include "core/seal/secret_key.hpp"

#include <sodium.h>

#include <algorithm>

#include "core/base/assert.hpp"

namespace kvault {
namespace {

unsigned char* raw(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }
const unsigned char* raw(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}

}  // namespace

SecretKey::~SecretKey() { sodium_memzero(bytes_.data(), bytes_.size()); }

Result<SecretKey> SecretKey::random() {
  if (sodium_init() < 0) return fail(Errc::internal, "libsodium does not start");
  SecretKey key;
  randombytes_buf(key.bytes_.data(), key.bytes_.size());
  return key;
}

Result<SecretKey> SecretKey::from_bytes(std::span<const std::byte> bytes) {
  SecretKey key;
  if (bytes.size() != key.bytes_.size()) {
    return fail(Errc::invalid_argument,
                message("a key of ", bytes.size(), " bytes; it must have ", kSecretKeySize));
  }
  std::copy(bytes.begin(), bytes.end(), key.bytes_.begin());
  return key;
}

Result<SecretKey> SecretKey::from_hex(std::string_view text) {
  SecretKey key;
  std::size_t n_byte = 0;
  const char* end = nullptr;
  const bool is_hex = text.size() == 2 * kSecretKeySize &&
                      sodium_hex2bin(raw(key.bytes_.data()), kSecretKeySize, text.data(),
                                     text.size(), nullptr, &n_byte, &end) == 0 &&
                      n_byte == kSecretKeySize && end == text.data() + text.size();
  if (is_hex) return key;
  return fail(Errc::invalid_argument,
              message("a token of ", text.size(), " characters; it must be ", 2 * kSecretKeySize,
                      " hexadecimal digits"));
}

SecretKey SecretKey::derive(std::string_view purpose, std::uint64_t number) const {
  KVAULT_ASSERT(purpose.size() == crypto_kdf_CONTEXTBYTES);
  SecretKey key;
  crypto_kdf_derive_from_key(raw(key.bytes_.data()), kSecretKeySize, number, purpose.data(),
                             raw(bytes_.data()));
  return key;
}

std::string SecretKey::to_hex() const {
  std::string text(2 * kSecretKeySize + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), raw(bytes_.data()), bytes_.size());
  text.pop_back();
  return text;
}

bool operator==(const SecretKey& a, const SecretKey& b) {
  return sodium_memcmp(a.bytes_.data(), b.bytes_.data(), kSecretKeySize) == 0;
}

}  // namespace kvault
