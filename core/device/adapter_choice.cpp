#include "core/device/adapter_choice.hpp"

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

namespace kvault {
namespace {

/// Numbers of at most so many digits are indices, and never part of a name.
constexpr std::size_t kIndexDigits = 3;

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

/// By index, UUID or name: what fits first decides.
std::vector<std::size_t> find_named(std::span<const DeviceAdapter> adapters,
                                    std::string_view wanted) {
  std::string digits = lower(wanted);
  std::erase(digits, '-');
  std::vector<std::size_t> by_name;
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    if (wanted == std::to_string(i)) return {i};
  }
  // An index that is none must not find the "256 bits" of a name; 4090 is a name's.
  if (wanted.size() <= kIndexDigits && is_number(wanted)) return {};
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    if (!digits.empty() && digits == adapters[i].uuid) return {i};
    if (lower(adapters[i].name).find(lower(wanted)) != std::string::npos) by_name.push_back(i);
  }
  return by_name;
}

}  // namespace

Result<std::size_t> choose_adapter(std::string_view backend,
                                   std::span<const DeviceAdapter> adapters,
                                   std::string_view wanted) {
  const std::vector<std::size_t> named = find_named(adapters, wanted);
  for (const std::size_t i : named) {
    if (adapters[i].why_not.empty()) return i;
  }
  if (!wanted.empty() && !named.empty()) {
    const DeviceAdapter& adapter = adapters[named.front()];
    return fail(Errc::device_absent,
                message(backend, ": \"", adapter.name, "\" cannot be used: ", adapter.why_not));
  }
  if (adapters.empty())
    return fail(Errc::device_absent, message(backend, ": no device has a driver"));
  std::string known;
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    known += message(known.empty() ? "" : "; ", i, " ", adapters[i].name);
    if (!adapters[i].why_not.empty()) known += message(" (", adapters[i].why_not, ")");
  }
  const std::string what =
      wanted.empty() ? "no usable device" : message("no device \"", wanted, "\"");
  return fail(Errc::device_absent, message(backend, ": ", what, "; there is: ", known));
}

}  // namespace kvault
