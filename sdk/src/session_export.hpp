#pragma once

#include <filesystem>
#include <string_view>

#include "core/base/result.hpp"
#include "sdk/src/client.hpp"

namespace kvault {

/// Writes a session as of its newest commit to a file of its own (docs/format.md, section 6), which
/// import_session() reads, here or elsewhere. Every byte is verified before it is written; the file
/// appears under its name once it is whole and synced. Others may go on writing to the session.
///
/// `progress` counts bytes of records. Errc::already_exists: something lies at `target`; nothing is
/// ever replaced. Errc::not_found, corrupt (names the record), cancelled, disk_full, io, and what
/// Client::attach() says. After an error nothing is there.
Result<> export_session(Client& client, std::string_view name_or_id,
                        const std::filesystem::path& target, const client::Progress& progress = {});

}  // namespace kvault
