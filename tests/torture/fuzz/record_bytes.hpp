#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/format/record.hpp"
#include "tests/torture/model/upload.hpp"

namespace kvault::torture {

/// A record as it would lie in a pack: `header` completed, its meta, its payload.
std::vector<std::byte> record_bytes(RecordHeader header, std::span<const std::byte> meta,
                                    std::span<const std::byte> payload);
/// The header of what an upload becomes, but for sizes.
RecordHeader header_of(const Upload& upload);
/// Makes the checksum of header and meta right again.
void mend_head(std::span<std::byte> record);

}  // namespace kvault::torture
