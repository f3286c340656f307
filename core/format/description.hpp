#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "core/layout/layer.hpp"

namespace kvault {

/// Limits of a description; check_description() enforces them.
inline constexpr std::size_t kSessionNameSizeMax = 255;
inline constexpr std::size_t kIdentityFieldsMax = 64;
inline constexpr std::size_t kIdentityNameSizeMax = 64;
inline constexpr std::size_t kIdentityValueSizeMax = 4096;
inline constexpr std::size_t kLayersMax = 1024;
inline constexpr std::uint32_t kHeadsMax = 1024;

/// One thing that must match before a session's memory may be used: weights, rope, vocabulary, ...
/// kvault compares values byte by byte and knows no field's meaning.
struct IdentityField {
  std::string name;
  std::string value;
  friend bool operator==(const IdentityField&, const IdentityField&) = default;
};

/// What a session is: its name, whose memory it holds, and the shape of that memory. Fixed for its
/// life. Stored in every commit record (docs/format.md, section 4).
struct SessionDescription {
  std::string name;                     ///< 1..255 bytes of UTF-8 without control characters
  std::vector<IdentityField> identity;  ///< names are unique; order means nothing
  ModelShape shape;
  friend bool operator==(const SessionDescription&, const SessionDescription&) = default;
};

/// Whether a text may name a session; Errc::invalid_argument says why not.
Result<> check_session_name(std::string_view name);
/// Whether a shape can be stored; Errc::invalid_argument names the layer and the number.
Result<> check_shape(const ModelShape& shape);
/// All of a description: name, identity, shape.
Result<> check_description(const SessionDescription& description);

/// The same but for the name, which may be empty.
Result<> check_model(const SessionDescription& description);

/// The bytes of a description that check_description() accepts. Identity fields are sorted by
/// name, so that equal descriptions have equal bytes.
Result<std::vector<std::byte>> serialise_description(const SessionDescription& description);
/// The inverse; reads `bytes` to the last one. Errc::truncated, unknown_format or corrupt.
Result<SessionDescription> parse_description(std::span<const std::byte> bytes);
/// The bytes of the identity and the shape alone, without the name (check_model() must accept
/// them): what page keys are made from.
Result<std::vector<std::byte>> serialise_identity(const SessionDescription& description);

/// Whether the memory of session `recorded` may be used by an app that describes itself as
/// `offered` (names of sessions are not compared). Errc::identity_mismatch names every field that
/// differs: "rope_freq_base: session 10000, app 1000000"; a layer likewise:
/// "layer 3 key_head_dim: session 128, app 64". An empty value equals a field that is not there.
Result<> check_identity(const SessionDescription& recorded, const SessionDescription& offered);

}  // namespace kvault
