#include "daemon/page_digest.hpp"

#include <sodium.h>

#include <algorithm>
#include <string_view>

#include "core/format/bytes.hpp"

namespace kvault {
namespace {

constexpr std::string_view kRootDomain = "kvault prefix root";
constexpr std::string_view kPrefixDomain = "kvault prefix";
constexpr std::string_view kContentDomain = "kvault page content";

std::array<std::byte, 16> hash(const NamespaceKey& secret, std::span<const std::byte> bytes) {
  std::array<std::byte, 16> digest;
  crypto_generichash(reinterpret_cast<unsigned char*>(digest.data()), digest.size(),
                     reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                     reinterpret_cast<const unsigned char*>(secret.data()), secret.size());
  return digest;
}

}  // namespace

PrefixKey root_prefix(const NamespaceKey& secret, std::span<const std::byte> identity) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put_text(kRootDomain);
  writer.put_bytes(identity);
  return hash(secret, bytes);
}

std::optional<PrefixKey> next_prefix(const NamespaceKey& secret,
                                     const std::optional<PrefixKey>& parent,
                                     std::span<const std::uint32_t> token_ids) {
  const auto is_opaque = [](std::uint32_t id) { return id == kOpaqueToken; };
  if (!parent || std::any_of(token_ids.begin(), token_ids.end(), is_opaque)) return std::nullopt;
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put_text(kPrefixDomain);
  writer.put_bytes(*parent);
  for (const std::uint32_t id : token_ids) writer.put(id);
  return hash(secret, bytes);
}

ContentKey content_key(const NamespaceKey& secret, const PageKey& key, const PayloadMeta& meta) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put_text(kContentDomain);
  writer.put_bytes(key.bytes);
  // Every number of the meta, formats and checksums included; offsets say where padding lies.
  writer.put_bytes(serialise_payload_meta(meta));
  return hash(secret, bytes);
}

}  // namespace kvault
