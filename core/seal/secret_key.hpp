#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/base/result.hpp"

namespace kvault {

inline constexpr std::size_t kSecretKeySize = 32;

/// 32 secret bytes, wiped when they go. Two keys are compared in constant time.
class SecretKey {
 public:
  /// All zero; assign one that is not.
  SecretKey() = default;
  SecretKey(const SecretKey&) = default;
  SecretKey& operator=(const SecretKey&) = default;
  ~SecretKey();

  /// Errc::internal where libsodium does not start.
  static Result<SecretKey> random();
  /// Errc::invalid_argument for another size than 32 bytes.
  static Result<SecretKey> from_bytes(std::span<const std::byte> bytes);
  /// 64 hexadecimal digits, as to_hex() gives them; Errc::invalid_argument, which does not repeat
  /// them.
  static Result<SecretKey> from_hex(std::string_view text);

  /// A key for one purpose, from which neither this one nor those of other purposes can be told
  /// (libsodium's crypto_kdf, BLAKE2b). `purpose`: 8 characters; the number is free.
  SecretKey derive(std::string_view purpose, std::uint64_t number = 0) const;

  std::span<const std::byte, kSecretKeySize> bytes() const { return bytes_; }
  std::string to_hex() const;

  friend bool operator==(const SecretKey& a, const SecretKey& b);

 private:
  std::array<std::byte, kSecretKeySize> bytes_{};
};

}  // namespace kvault
