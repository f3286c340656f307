#include "core/device/backend.hpp"

#include <algorithm>

namespace kvault {
namespace {

/// "cpu, vulkan".
std::string names_of(std::span<const BackendEntry> backends) {
  std::string names;
  for (const BackendEntry& backend : backends) {
    names += message(names.empty() ? "" : ", ", backend.name);
  }
  return names;
}

/// "0 GeForce; 1 llvmpipe", or why there is none.
std::string describe_list(const BackendEntry& backend) {
  const Result<std::vector<DeviceAdapter>> adapters = backend.list();
  if (!adapters) return message("none: ", adapters.error().message);
  std::string text;
  for (std::size_t i = 0; i < adapters->size(); ++i) {
    text += message(text.empty() ? "" : "; ", i, " ", (*adapters)[i].name);
  }
  return text;
}

}  // namespace

std::string_view name_of(AdapterKind kind) noexcept {
  switch (kind) {
    case AdapterKind::discrete:
      return "discrete";
    case AdapterKind::integrated:
      return "integrated";
    case AdapterKind::virtual_gpu:
      return "virtual";
    case AdapterKind::cpu:
      return "cpu";
    case AdapterKind::other:
      break;
  }
  return "other";
}

Result<std::unique_ptr<Device>> open_device(std::span<const BackendEntry> backends,
                                            std::string_view text, DeviceOptions options) {
  if (text.empty()) {
    return fail(Errc::invalid_argument,
                message("the name of the device is empty; this build has: ", names_of(backends)));
  }
  const std::size_t colon = text.find(':');
  const auto backend = std::ranges::find(backends, text.substr(0, colon), &BackendEntry::name);
  if (backend == backends.end()) {
    return fail(Errc::not_found,
                message("no device \"", text, "\" in this build; it has: ", names_of(backends)));
  }
  if (colon == std::string_view::npos) return backend->open(options);
  options.adapter = text.substr(colon + 1);
  if (options.adapter.find_first_not_of(' ') == std::string_view::npos) {
    return fail(
        Errc::invalid_argument,
        message("device \"", text, "\": no index, UUID or name follows the colon; there is: ",
                describe_list(*backend)));
  }
  return backend->open(options);
}

}  // namespace kvault
