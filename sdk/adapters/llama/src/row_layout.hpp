#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "kvault/kvault.h"
#include "sdk/adapters/llama/src/ggml_type.hpp"

namespace kvault::llama {

/// The runs that llama.cpp rotates the rows of a quantised cache by; 0: it does not.
struct Rotation {
  std::uint32_t key = 0;
  std::uint32_t value = 0;
  friend bool operator==(const Rotation&, const Rotation&) = default;
};

/// llama.cpp's rule since 2026-04 (src/llama-kv-cache.cpp, build_input_k_rot and _v_rot): rows of a
/// quantised type whose head_dim is a multiple of 64; keys by the largest power of two that divides
/// the head, values by 64. LLAMA_ATTN_ROT_DISABLE in the environment turns it off.
Rotation rotation_of(const GgmlType& key, const GgmlType& value, std::uint32_t key_head_dim,
                     std::uint32_t value_head_dim);

/// How rows lie in an engine's cache, or in a session.
struct RowFormat {
  GgmlType type;
  std::uint32_t rotation = 0;
  friend bool operator==(const RowFormat& a, const RowFormat& b) {
    return a.type.number == b.type.number && a.rotation == b.rotation;
  }
};

/// How a session keeps the rows. `natural`: as numbers of one of kvault's row types, unrotated.
/// Else verbatim: every row's bytes, whatever they are, packed into f16 elements (pack_row).
struct RowLayout {
  bool is_natural = true;
  RowFormat key;
  RowFormat value;
  std::uint32_t ext_bytes = 0;  ///< of the cells: KvSection

  /// The row type of the session's cache.
  kvault_row_type row_type() const;
  /// What the identity field "llama.rows" says, and back. Errc::unknown_format.
  std::string text() const;
  static Result<RowLayout> parse(std::string_view text);
};

/// Chooses: natural where both sides are of one unquantised type, or are to be coded anyway.
Result<RowLayout> choose_layout(const RowFormat& key, const RowFormat& value,
                                std::uint32_t ext_bytes, bool is_raw);

/// Converts one row between formats by way of numbers; verbatim where they are equal.
/// Errc::unsupported where a type can only be kept verbatim.
Result<> check_convertible(const RowFormat& from, const RowFormat& to);
/// pre: check_convertible(from, to), sizes fit; scratch: as many floats as the row has
void convert_row(const RowFormat& from, std::span<const std::byte> row, const RowFormat& to,
                 std::span<std::byte> target, std::span<float> scratch);

/// Bytes as 16-bit elements that are finite as f16 and as bf16: 15 bits each, bit 14 is 0. The row
/// begins with the number of bytes in two elements.
std::uint32_t packed_elements(std::uint64_t row_bytes);
void pack_row(std::span<const std::byte> row, std::span<std::uint16_t> elements);
/// The size of a packed row; Errc::corrupt where it does not fit the elements.
Result<std::uint32_t> packed_row_bytes(std::span<const std::uint16_t> elements);
/// pre: row.size() == packed_row_bytes(elements)
void unpack_row(std::span<const std::uint16_t> elements, std::span<std::byte> row);

/// 15 bits as such an element, and back.
constexpr std::uint16_t to_element(std::uint32_t bits) {
  return static_cast<std::uint16_t>((bits & 0x3FFFU) | ((bits & 0x4000U) << 1U));
}
constexpr std::uint32_t from_element(std::uint16_t element) {
  return (element & 0x3FFFU) | ((element & 0x8000U) >> 1U);
}

}  // namespace kvault::llama
