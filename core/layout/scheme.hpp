#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/layout/block_abi.inc"

namespace kvault {

inline constexpr std::uint32_t kPageTokens = KVAULT_PAGE_N_TOKEN;

/// K or V of a layer.
enum class Side : std::uint8_t { key = 0, value = 1 };

/// The element type of an engine's rows.
enum class RowType : std::uint8_t {
  f16 = KVAULT_FORMAT_RAW_F16,
  bf16 = KVAULT_FORMAT_RAW_BF16,
  f32 = KVAULT_FORMAT_RAW_F32,
};

/// How one side of a layer is kept once its page is sealed. `raw`: the engine's rows verbatim.
enum class Scheme : std::uint8_t {
  raw = 0,
  q8 = KVAULT_FORMAT_Q8,
  tq4 = KVAULT_FORMAT_TQ4,
  tq3 = KVAULT_FORMAT_TQ3,
  tq2 = KVAULT_FORMAT_TQ2,
};

/// The byte that says how one block is stored: raw rows of a type, or a coded scheme, centred or
/// not. Made by `raw()` and `coded()`, or from a stored byte by `from_byte()`.
class BlockFormat {
 public:
  constexpr BlockFormat() = default;
  static constexpr BlockFormat raw(RowType type) {
    return BlockFormat(static_cast<std::uint8_t>(type));
  }
  /// pre: scheme != Scheme::raw
  static constexpr BlockFormat coded(Scheme scheme, bool centred) {
    return BlockFormat(static_cast<std::uint8_t>(static_cast<unsigned>(scheme) |
                                                 (centred ? KVAULT_FORMAT_CENTRED : 0)));
  }
  /// Empty for a byte that no format has.
  static std::optional<BlockFormat> from_byte(std::uint8_t byte) noexcept;

  constexpr std::uint8_t byte() const { return byte_; }
  constexpr bool is_raw() const { return byte_ <= KVAULT_FORMAT_RAW_F32; }
  constexpr bool is_centred() const { return (byte_ & KVAULT_FORMAT_CENTRED) != 0; }
  /// pre: is_raw()
  constexpr RowType row_type() const { return static_cast<RowType>(byte_); }
  constexpr Scheme scheme() const {
    return is_raw() ? Scheme::raw : static_cast<Scheme>(byte_ & ~KVAULT_FORMAT_CENTRED);
  }
  friend constexpr bool operator==(BlockFormat, BlockFormat) = default;

 private:
  constexpr explicit BlockFormat(std::uint8_t byte) : byte_(byte) {}
  std::uint8_t byte_ = KVAULT_FORMAT_RAW_F16;
};

/// Bytes of one element: 2 or 4.
constexpr std::uint32_t size_bytes_of(RowType type) { return type == RowType::f32 ? 4 : 2; }

/// Bits of one code; 0 for raw.
constexpr std::uint32_t code_bits_of(Scheme scheme) {
  switch (scheme) {
    case Scheme::q8:
      return 8;
    case Scheme::tq4:
      return 4;
    case Scheme::tq3:
      return 3;
    case Scheme::tq2:
      return 2;
    case Scheme::raw:
      return 0;
  }
  return 0;
}

/// The schemes of K and V under one name.
struct Preset {
  std::string_view name;
  Scheme key;
  Scheme value;
};

/// raw, k8v8, k8v4, k4v4, k4v3, k3v3, k3v2, k2v2; also f16, near-lossless, balanced and small.
std::span<const Preset> presets() noexcept;
std::optional<Preset> find_preset(std::string_view name) noexcept;

std::string_view name_of(Scheme scheme) noexcept;
std::string_view name_of(RowType type) noexcept;

}  // namespace kvault
