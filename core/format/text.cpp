#include "core/format/text.hpp"

#include <cstdint>

namespace kvault {
namespace {

/// One code point of strict UTF-8 at the front of `text`, or 0 bytes.
struct CodePoint {
  std::uint32_t value = 0;
  std::size_t size = 0;
};

CodePoint decode_utf8(std::string_view text) {
  const auto byte_at = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint32_t lead = byte_at(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < size) return {};
  std::uint32_t value = lead & (0x7FU >> size);
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte_at(i) & 0xC0U) != 0x80U) return {};
    value = (value << 6U) | (byte_at(i) & 0x3FU);
  }
  constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < kLeast[size] || value > 0x10FFFF || is_surrogate) return {};
  return {value, size};
}

/// Offset of the first byte that is not printable UTF-8, or text.size().
std::size_t printable_size(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const CodePoint point = decode_utf8(text.substr(i));
    const bool is_control = point.value < 0x20 || (point.value >= 0x7F && point.value < 0xA0);
    if (point.size == 0 || is_control) break;
    i += point.size;
  }
  return i;
}

}  // namespace

Result<> check_text(std::string_view what, std::string_view text, std::size_t size_min,
                    std::size_t size_max) {
  if (text.size() < size_min || text.size() > size_max) {
    return fail(Errc::invalid_argument, message(what, " has ", text.size(), " bytes; ", size_min,
                                                " to ", size_max, " are allowed"));
  }
  const std::size_t printable = printable_size(text);
  if (printable != text.size()) {
    return fail(Errc::invalid_argument,
                message(what, " is not printable UTF-8: byte ", printable, " is ",
                        static_cast<std::uint8_t>(text[printable])));
  }
  return {};
}

}  // namespace kvault
