#include "core/base/result.hpp"

namespace kvault {
namespace {

struct Entry {
  Errc code;
  std::string_view name;
  std::string_view text;
};

constexpr Entry kEntries[] = {
#define KVAULT_ERROR(name, NAME, number, text) {Errc::name, #name, text},
#include "core/base/errors.inc"
#undef KVAULT_ERROR
};

const Entry& entry_of(Errc code) noexcept {
  for (const Entry& entry : kEntries) {
    if (entry.code == code) return entry;
  }
  return entry_of(Errc::internal);
}

}  // namespace

std::string_view name_of(Errc code) noexcept { return entry_of(code).name; }

std::string_view text_of(Errc code) noexcept { return entry_of(code).text; }

Errc errc_from_number(int number) noexcept {
  for (const Entry& entry : kEntries) {
    if (static_cast<int>(entry.code) == number) return entry.code;
  }
  return Errc::internal;
}

}  // namespace kvault
