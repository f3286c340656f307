#include "core/seal/seal.hpp"

#include <sodium.h>

namespace kvault {
namespace {

constexpr std::size_t kNonceSize = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr std::size_t kTagSize = crypto_aead_xchacha20poly1305_ietf_ABYTES;
static_assert(kNonceSize + kTagSize == kSealBytes);

const unsigned char* raw(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}

}  // namespace

std::vector<std::byte> seal(const SecretKey& key, std::span<const std::byte> plain,
                            std::span<const std::byte> context) {
  std::vector<std::byte> sealed(plain.size() + kSealBytes);
  auto* const nonce = reinterpret_cast<unsigned char*>(sealed.data());
  randombytes_buf(nonce, kNonceSize);
  crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + kNonceSize, nullptr, raw(plain.data()),
                                             plain.size(), raw(context.data()), context.size(),
                                             nullptr, nonce, raw(key.bytes().data()));
  return sealed;
}

Result<std::vector<std::byte>> unseal(const SecretKey& key, std::span<const std::byte> sealed,
                                      std::span<const std::byte> context) {
  if (sealed.size() < kSealBytes) {
    return fail(Errc::corrupt, message(sealed.size(), " sealed bytes; the least is ", kSealBytes));
  }
  std::vector<std::byte> plain(sealed.size() - kSealBytes);
  const unsigned char* const nonce = raw(sealed.data());
  const int status = crypto_aead_xchacha20poly1305_ietf_decrypt(
      reinterpret_cast<unsigned char*>(plain.data()), nullptr, nullptr, nonce + kNonceSize,
      sealed.size() - kNonceSize, raw(context.data()), context.size(), nonce,
      raw(key.bytes().data()));
  if (status == 0) return plain;
  return fail(Errc::corrupt, message(sealed.size(), " sealed bytes are not what was sealed here"));
}

}  // namespace kvault
