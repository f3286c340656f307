#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "daemon/catalog.hpp"
#include "daemon/pack.hpp"

namespace kvault {

/// A transaction number is the epoch (how often the store was opened) in the upper 32 bits and a
/// count in the lower: numbers of a later opening are always higher.
constexpr std::uint64_t epoch_of(std::uint64_t transaction) { return transaction >> 32U; }
constexpr std::uint64_t first_transaction_of(std::uint64_t epoch) { return (epoch << 32U) | 1U; }

/// What the packs say about the sessions.
struct Rebuilt {
  std::vector<SessionState> sessions;  ///< names are unique
  std::uint64_t epoch = 0;             ///< the highest one seen
  std::vector<std::string> damage;     ///< in words
};

/// Reads every log pack from end to end and takes of each session the commit or tombstone with the
/// highest (commit number, transaction) whose records are all there; what that commit itself wrote
/// is verified to the last byte, because its sync may have been cut short. Damaged bytes are damage
/// and no error. Bytes that the machine does not let us read (Errc::io, permission, out_of_memory)
/// are an error: to go on without them would make an older state the durable one.
Result<Rebuilt> rebuild_from_packs(const PackSet& packs, const NamespaceKey& secret);

/// The machine did not let us look, so nothing is known of the bytes: another time it may.
bool is_of_machine(const Error& error);

/// The name of a session that shares `name` with one that was written to later.
std::string name_set_apart(const std::string& name, const SessionId& id);

/// A whole record, verified, and the one that `live` names; Errc::corrupt where it is not. A forked
/// session names records that were written for another one.
Result<RecordHeader> verify_live_record(const PackSet& packs, const LiveRecord& live);
/// The same, giving its bytes.
Result<std::vector<std::byte>> read_live_record(const PackSet& packs, const LiveRecord& live);
/// The same of a commit record; `meta` is set to what it says.
Result<RecordHeader> verify_commit_record(const PackSet& packs, const SessionId& session,
                                          const CommitPlace& place, CommitMeta& meta);

}  // namespace kvault
