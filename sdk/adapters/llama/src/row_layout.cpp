#include "sdk/adapters/llama/src/row_layout.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/base/assert.hpp"

namespace kvault::llama {
namespace {

constexpr std::uint32_t kBitsPerElement = 15;
constexpr std::uint32_t kSizeElements = 2;  ///< the row's size in bytes, 30 bits

std::string text_of(const RowFormat& format) {
  return message(format.type.name, " ", format.rotation);
}

/// "q8_0 64"
Result<RowFormat> parse_format(std::string_view text) {
  const std::size_t space = text.find(' ');
  for (std::int32_t number = 0; number <= kGgmlBf16 && space != text.npos; ++number) {
    const Result<GgmlType> type = find_ggml_type(number);
    if (!type || text.substr(0, space) != type->name) continue;
    const std::string digits(text.substr(space + 1));
    char* end = nullptr;
    const unsigned long rotation = std::strtoul(digits.c_str(), &end, 10);
    if (*end != '\0' || rotation > 4096) break;
    return RowFormat{*type, static_cast<std::uint32_t>(rotation)};
  }
  return fail(Errc::unknown_format, message("the session's rows are ", text));
}

}  // namespace

Rotation rotation_of(const GgmlType& key, const GgmlType& value, std::uint32_t key_head_dim,
                     std::uint32_t value_head_dim) {
  const char* const disabled = std::getenv("LLAMA_ATTN_ROT_DISABLE");
  if (disabled != nullptr && std::atoi(disabled) != 0) return {};
  Rotation rotation;
  if (key.is_quantised && key_head_dim > 0 && key_head_dim % 64 == 0) {
    rotation.key = 64;
    while (key_head_dim % (rotation.key * 2) == 0) rotation.key *= 2;
  }
  if (value.is_quantised && value_head_dim > 0 && value_head_dim % 64 == 0) rotation.value = 64;
  return rotation;
}

kvault_row_type RowLayout::row_type() const {
  if (!is_natural || key.type.number == kGgmlF16) return KVAULT_F16;
  return key.type.number == kGgmlBf16 ? KVAULT_BF16 : KVAULT_F32;
}

std::string RowLayout::text() const {
  return message(is_natural ? "numbers" : "verbatim", ", keys ", text_of(key), ", values ",
                 text_of(value), ", ext ", ext_bytes);
}

Result<RowLayout> RowLayout::parse(std::string_view text) {
  const auto unknown = [&] {
    return fail(Errc::unknown_format, message("the session's rows are ", text));
  };
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(", ", begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 2;
  }
  if (parts.size() != 4 || !parts[1].starts_with("keys ") || !parts[2].starts_with("values ")) {
    return unknown();
  }
  RowLayout layout;
  layout.is_natural = parts[0] == "numbers";
  if (!layout.is_natural && parts[0] != "verbatim") return unknown();
  KVAULT_TRY(layout.key, parse_format(parts[1].substr(5)));
  KVAULT_TRY(layout.value, parse_format(parts[2].substr(7)));
  for (const std::uint32_t ext : {0U, 8U, 12U}) {
    if (parts[3] != message("ext ", ext)) continue;
    layout.ext_bytes = ext;
    return layout;
  }
  return unknown();
}

Result<RowLayout> choose_layout(const RowFormat& key, const RowFormat& value,
                                std::uint32_t ext_bytes, bool is_raw) {
  RowLayout layout{.is_natural = true, .key = key, .value = value, .ext_bytes = ext_bytes};
  if (key == value && !key.type.is_quantised) return layout;
  if (is_raw) {
    layout.is_natural = false;
    return layout;
  }
  // To be coded: numbers of the wider kind.
  const bool is_wide = key.type.number == kGgmlF32 || value.type.number == kGgmlF32 ||
                       key.type.number == kGgmlBf16 || value.type.number == kGgmlBf16;
  KVAULT_TRY(const GgmlType type, find_ggml_type(is_wide ? kGgmlF32 : kGgmlF16));
  layout.key = layout.value = {type, 0};
  KVAULT_CHECK(check_convertible(key, layout.key));
  KVAULT_CHECK(check_convertible(value, layout.value));
  return layout;
}

Result<> check_convertible(const RowFormat& from, const RowFormat& to) {
  if (from == to || (from.type.can_convert && to.type.can_convert)) return {};
  return fail(Errc::unsupported, message("rows of ", from.type.name, " cannot become rows of ",
                                         to.type.name, "; f32, f16, bf16, q8_0 and q4_0 can"));
}

void convert_row(const RowFormat& from, std::span<const std::byte> row, const RowFormat& to,
                 std::span<std::byte> target, std::span<float> scratch) {
  if (from == to) {
    std::copy(row.begin(), row.end(), target.begin());
    return;
  }
  decode_row(from.type, row, scratch);
  if (from.rotation != to.rotation) {
    if (from.rotation > 0) rotate_rows(scratch, from.rotation);
    if (to.rotation > 0) rotate_rows(scratch, to.rotation);
  }
  encode_row(to.type, scratch, target);
}

std::uint32_t packed_elements(std::uint64_t row_bytes) {
  const std::uint64_t n_bit = row_bytes * 8;
  return kSizeElements +
         static_cast<std::uint32_t>((n_bit + kBitsPerElement - 1) / kBitsPerElement);
}

void pack_row(std::span<const std::byte> row, std::span<std::uint16_t> elements) {
  KVAULT_ASSERT(elements.size() >= packed_elements(row.size()));
  const auto size = static_cast<std::uint32_t>(row.size());
  elements[0] = to_element(size & 0x7FFFU);
  elements[1] = to_element(size >> 15U);
  std::uint64_t bits = 0;
  std::uint32_t n_bit = 0;
  std::size_t at = kSizeElements;
  for (const std::byte byte : row) {
    bits |= static_cast<std::uint64_t>(byte) << n_bit;
    n_bit += 8;
    for (; n_bit >= kBitsPerElement; n_bit -= kBitsPerElement, bits >>= kBitsPerElement) {
      elements[at++] = to_element(bits & 0x7FFFU);
    }
  }
  if (n_bit > 0) elements[at++] = to_element(static_cast<std::uint32_t>(bits));
  std::fill(elements.begin() + static_cast<std::ptrdiff_t>(at), elements.end(), std::uint16_t{0});
}

Result<std::uint32_t> packed_row_bytes(std::span<const std::uint16_t> elements) {
  if (elements.size() >= kSizeElements) {
    const std::uint32_t size = from_element(elements[0]) | (from_element(elements[1]) << 15U);
    if (packed_elements(size) <= elements.size()) return size;
  }
  return fail(Errc::corrupt, message("a verbatim row of ", elements.size(),
                                     " elements does not hold what it says"));
}

void unpack_row(std::span<const std::uint16_t> elements, std::span<std::byte> row) {
  std::uint64_t bits = 0;
  std::uint32_t n_bit = 0;
  std::size_t at = kSizeElements;
  for (std::byte& byte : row) {
    if (n_bit < 8) {
      bits |= static_cast<std::uint64_t>(from_element(elements[at++])) << n_bit;
      n_bit += kBitsPerElement;
    }
    byte = static_cast<std::byte>(bits & 0xFFU);
    bits >>= 8U;
    n_bit -= 8;
  }
}

}  // namespace kvault::llama
