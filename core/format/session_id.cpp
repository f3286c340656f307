#include "core/format/session_id.hpp"

namespace kvault {

std::string to_hex(const SessionId& id) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : id.bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4U];
    text += kDigits[std::to_integer<unsigned>(byte) & 15U];
  }
  return text;
}

Result<SessionId> session_id_from_hex(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  SessionId id;
  bool is_valid = text.size() == 2 * id.bytes.size();
  for (std::size_t i = 0; is_valid && i < text.size(); ++i) {
    const std::size_t digit = kDigits.find(text[i]);
    is_valid = digit != std::string_view::npos;
    if (is_valid) id.bytes[i / 2] = (id.bytes[i / 2] << 4U) | static_cast<std::byte>(digit);
  }
  if (is_valid) return id;
  return fail(Errc::invalid_argument,
              message("'", text.substr(0, 40), "' is not 32 hexadecimal ", "digits, lower case"));
}

}  // namespace kvault
