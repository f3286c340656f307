#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/record.hpp"
#include "core/format/record_check.hpp"
#include "core/format/session_key.hpp"
#include "core/seal/seal.hpp"

/// Sealed records (docs/format.md, section 4): meta and chunks hidden under the key of the
/// session's family, the header in the clear.
namespace kvault {

/// What sealing adds to a meta: the family's id and the seal.
inline constexpr std::uint64_t kSealedMetaBytes = 16 + kSealBytes;

/// The meta as it is stored; sets header.is_sealed. pre: the header is complete but for sizes,
/// pack, checksum, and keys of pages.
std::vector<std::byte> seal_meta(RecordHeader& header, const SessionKey& key,
                                 std::span<const std::byte> meta);

/// A chunk of a record as it is stored. Only the draft's place and the chunk's name are looked at.
std::vector<std::byte> seal_chunk(const SecretKey& key, const SessionId& family,
                                  const RecordDraft& record, const Chunk& chunk,
                                  std::span<const std::byte> plain);
/// Errc::corrupt
Result<std::vector<std::byte>> unseal_chunk(const SecretKey& key, const SessionId& family,
                                            const RecordDraft& record, const Chunk& chunk,
                                            std::span<const std::byte> sealed);

/// A record of the same content without a seal: header, meta and chunks, each in its new place.
/// pre: verify_record() accepts it with these keys, and it is a page, tail or snapshot.
Result<std::vector<std::byte>> unseal_record(std::span<const std::byte> record, KeyFinder& keys);

}  // namespace kvault
