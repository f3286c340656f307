#pragma once

#include <filesystem>
#include <string_view>

#include "core/base/result.hpp"

namespace kvault {

/// The error of a system call on a file, to return: `action` ("write"), the path, errno and its
/// text. Full disks, refused access, absent and existing files have their own codes; the rest is
/// Errc::io.
[[nodiscard]] tl::unexpected<Error> fail_file(std::string_view action,
                                              const std::filesystem::path& path, int error_number,
                                              const char* file = __builtin_FILE(),
                                              int line = __builtin_LINE());

}  // namespace kvault
