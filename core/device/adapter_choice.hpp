#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "core/device/backend.hpp"

namespace kvault {

/// Which of a backend's adapters `wanted` names: an index into the list, else a UUID (with or
/// without dashes), else part of a name, in any case: the first usable one of that name. Empty: the
/// first usable one. Errc::device_absent says what there is and why it is not used.
Result<std::size_t> choose_adapter(std::string_view backend,
                                   std::span<const DeviceAdapter> adapters,
                                   std::string_view wanted);

}  // namespace kvault
