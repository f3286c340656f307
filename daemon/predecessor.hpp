#pragma once

#include <filesystem>

#include "core/base/result.hpp"

namespace kvault {

/// Asks the kvaultd at a socket, where one runs, to finish what it was asked for and end, and waits
/// until it has let go of the socket and the data directory (both absolute). Blocks, at most 30 s;
/// before the server is made. Errc::timeout: it still holds them.
Result<> end_predecessor(const std::filesystem::path& data_directory,
                         const std::filesystem::path& socket_path);

}  // namespace kvault
