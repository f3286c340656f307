#include "core/format/namespace_name.hpp"

#include <algorithm>

namespace kvault {
namespace {

constexpr std::size_t kNameSizeMax = 64;

}  // namespace

Result<> check_namespace_name(std::string_view name) {
  const auto is_alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  };
  const auto is_allowed = [&](char c) {
    return is_alphanumeric(c) || c == '.' || c == '_' || c == '-';
  };
  if (!name.empty() && name.size() <= kNameSizeMax && is_alphanumeric(name.front()) &&
      std::all_of(name.begin(), name.end(), is_allowed)) {
    return {};
  }
  return fail(Errc::invalid_argument,
              message("the name of a namespace has ", name.size(), " bytes; it must be 1 to ",
                      kNameSizeMax, " of a-z, 0-9, '.', '_' and '-', a letter or digit first"));
}

}  // namespace kvault
