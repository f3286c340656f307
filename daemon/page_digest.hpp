#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/format/record.hpp"
#include "daemon/page_key.hpp"

namespace kvault {

/// A token id that stands for something that is no text. A page that holds one is not matched, nor
/// is any page behind it. An app that can name such content gives it ids made of its hash instead.
inline constexpr std::uint32_t kOpaqueToken = 0xFFFFFFFF;

/// Names a prefix of whole pages by model and token ids alone: what a chat can know before it has
/// computed anything.
using PrefixKey = std::array<std::byte, 16>;
/// Names a page by its key and the checksums of its payload: equal ones hold the same bytes.
using ContentKey = std::array<std::byte, 16>;

/// What the catalog knows of a page besides where it lies.
struct PageDigest {
  std::optional<PrefixKey> prefix;  ///< empty behind an opaque token
  ContentKey content{};
  friend bool operator==(const PageDigest&, const PageDigest&) = default;
};

/// The prefix of no page: the model's identity and shape (serialise_identity()). BLAKE2b-128 under
/// the store's secret, as all of these.
PrefixKey root_prefix(const NamespaceKey& secret, std::span<const std::byte> identity);
/// The prefix one page longer. token_ids [128]
std::optional<PrefixKey> next_prefix(const NamespaceKey& secret,
                                     const std::optional<PrefixKey>& parent,
                                     std::span<const std::uint32_t> token_ids);
ContentKey content_key(const NamespaceKey& secret, const PageKey& key, const PayloadMeta& meta);

}  // namespace kvault
