#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/base/result.hpp"
#include "sdk/src/client.hpp"

namespace kvault {

/// Makes a session of what export_session() wrote, under the name it had or another one. All of
/// the file is read and verified before kvaultd hears of it, and every record once more as it is
/// sent. The session gets its name last: until then it has a name of its own and expires within a
/// day, so that one whose import was killed does not stay.
///
/// Labels, pin and expiry come along (an expiry that has passed does not); it is no fork of
/// anything here. `progress` counts each byte of the file twice: verified, sent.
///
/// Errc::already_exists: the name is in use. Errc::truncated, corrupt, unknown_format: the file.
/// Errc::limit_exceeded: more records than one commit takes. After an error there is no session,
/// unless the connection was lost.
Result<client::SessionInfo> import_session(Client& client, const std::filesystem::path& path,
                                           const std::optional<std::string>& new_name,
                                           const client::Progress& progress = {});

}  // namespace kvault
