#include "daemon/rebuild.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace kvault {
namespace {

/// A commit or tombstone found in a log pack.
struct Candidate {
  RecordHeader header;
  std::uint32_t pack_number = 0;
  std::uint64_t offset_bytes = 0;

  CommitPlace place() const {
    return {pack_number, offset_bytes, header.length_bytes, header.transaction, header.checksum};
  }
};

using Candidates = std::map<SessionId, std::vector<Candidate>>;

bool begins_like_a_record(std::span<const std::byte> bytes) {
  constexpr std::array<std::byte, 4> kMagic = {std::byte{'K'}, std::byte{'V'}, std::byte{'R'},
                                               std::byte{'1'}};
  return bytes.size() >= kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), bytes.begin());
}

/// Walks over one log pack. Whole records are stepped over; where there is none, the next one can
/// only begin at a multiple of 4096 further on.
Result<> scan_pack(const PackSet& packs, PackName pack, std::uint64_t size_bytes, Rebuilt& rebuilt,
                   Candidates& candidates) {
  std::vector<std::byte> head;
  std::uint64_t offset = kPackHeaderSize;
  while (offset + kRecordHeaderSize <= size_bytes) {
    const Result<RecordHeader> header = packs.read_head(pack, offset, head);
    if (!header) {
      if (is_of_machine(header.error())) return tl::unexpected<Error>(header.error());
      if (begins_like_a_record(head)) {
        rebuilt.damage.push_back(
            message(file_name_of(pack), ", record at byte ", offset, ": ", header.error().message));
      }
      offset += kRecordAlignment;
      continue;
    }
    rebuilt.epoch = std::max(rebuilt.epoch, epoch_of(header->transaction));
    if (header->kind == RecordKind::commit || header->kind == RecordKind::tombstone) {
      candidates[header->session].push_back({*header, pack.number, offset});
    }
    offset += header->length_bytes;
  }
  return {};
}

Result<std::vector<std::byte>> read_record(const PackSet& packs, PackName pack,
                                           std::uint64_t offset_bytes) {
  std::vector<std::byte> bytes;
  KVAULT_TRY(const RecordHeader header, packs.read_head(pack, offset_bytes, bytes));
  bytes.resize(header.length_bytes);
  KVAULT_CHECK(packs.read(pack, offset_bytes, bytes));
  return bytes;
}

Result<> check_same(const RecordHeader& header, const LiveRecord& live) {
  const bool is_page = live.kind == RecordKind::page;
  const bool is_same = header.kind == live.kind && header.checksum == live.checksum &&
                       header.transaction == live.transaction &&
                       header.length_bytes == live.length_bytes &&
                       header.first_token == live.first_token &&
                       (is_page ? header.n_token == live.n_token : header.n_token >= live.n_token);
  if (is_same) return {};
  return fail(Errc::corrupt, message("the record at ", live.offset_bytes, " of ",
                                     file_name_of({live.pack_kind, live.pack_number}),
                                     " is another one than the commit record names"));
}

/// Digests of a session's pages, in order. pre: the record is there, and the page before is done.
Result<> add_digest(const NamespaceKey& secret, const RecordHeader& header,
                    std::span<const std::byte> head, KeyFinder* keys, SessionState& state) {
  KVAULT_TRY(const PayloadMeta meta, parse_payload_meta(header, head, keys));
  const std::uint64_t first = header.first_token;
  std::optional<PrefixKey> parent = state.root_prefix;
  if (first > 0) parent = state.page_digests[first - kPageTokens].prefix;
  state.page_digests[first] = {next_prefix(secret, parent, meta.token_ids),
                               content_key(secret, header.key, meta)};
  return {};
}

/// A commit whose records are all there; what it wrote itself is read to the last byte.
Result<SessionState> adopt(const PackSet& packs, const NamespaceKey& secret,
                           const Candidate& candidate) {
  SessionState state{.id = candidate.header.session,
                     .commit_number = candidate.header.commit_number,
                     .place = candidate.place()};
  KVAULT_CHECK(verify_commit_record(packs, state.id, state.place, state.meta));
  KVAULT_TRY(const std::vector<std::byte> identity, serialise_identity(state.meta.description));
  state.root_prefix = root_prefix(secret, identity);
  std::vector<std::byte> head;
  const PackName log{PackKind::log, candidate.pack_number};
  KVAULT_TRY(const RecordHeader commit, packs.read_head(log, candidate.offset_bytes, head));
  KVAULT_TRY(state.family, family_of(commit, head));
  for (const LiveRecord& live : state.meta.records) {
    if (live.transaction == candidate.header.transaction) {
      KVAULT_CHECK(verify_live_record(packs, live));
    }
    KVAULT_TRY(const RecordHeader header,
               packs.read_head({live.pack_kind, live.pack_number}, live.offset_bytes, head));
    KVAULT_CHECK(check_same(header, live));
    if (live.kind == RecordKind::page)
      KVAULT_CHECK(add_digest(secret, header, head, packs.keys(), state));
  }
  return state;
}

Result<> take_newest(const PackSet& packs, const NamespaceKey& secret,
                     std::vector<Candidate>& candidates, Rebuilt& rebuilt) {
  // Transactions alone: what failed has a higher commit number than what stated the session anew
  // after it, and must not come back.
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.header.transaction > b.header.transaction;
  });
  for (const Candidate& candidate : candidates) {
    if (candidate.header.kind == RecordKind::tombstone) return {};
    Result<SessionState> state = adopt(packs, secret, candidate);
    if (state) {
      rebuilt.sessions.push_back(std::move(*state));
      return {};
    }
    if (is_of_machine(state.error())) return tl::unexpected<Error>(std::move(state).error());
    rebuilt.damage.push_back(message("session ", to_hex(candidate.header.session), ", commit ",
                                     candidate.header.commit_number, ": ", state.error().message));
  }
  return {};
}

/// Two sessions of one name: the maker of the older one was told that it failed, or its removal is
/// lost. The one written to last keeps the name; an empty other one goes, one with tokens is
/// renamed.
void make_names_unique(bool is_sealed, Rebuilt& rebuilt) {
  std::vector<SessionState>& sessions = rebuilt.sessions;
  std::sort(sessions.begin(), sessions.end(), [](const SessionState& a, const SessionState& b) {
    return a.place.transaction > b.place.transaction;
  });
  std::set<std::string> names;
  std::vector<SessionState> unique;
  for (SessionState& session : sessions) {
    std::string& name = session.meta.description.name;
    if (names.contains(name)) {
      if (session.meta.n_token == 0) continue;
      std::string other = name_set_apart(name, session.id);
      rebuilt.damage.push_back(
          is_sealed ? message("session ", to_hex(session.id), " had the name of another one")
                    : message("two sessions are called '", name, "'; one is now '", other, "'"));
      name = std::move(other);
    }
    names.insert(name);
    unique.push_back(std::move(session));
  }
  sessions = std::move(unique);
}

}  // namespace

bool is_of_machine(const Error& error) {
  return error.code == Errc::io || error.code == Errc::permission ||
         error.code == Errc::out_of_memory || error.code == Errc::disk_full;
}

std::string name_set_apart(const std::string& name, const SessionId& id) {
  const std::string suffix = message(" (", to_hex(id), ")");
  std::size_t size = std::min(name.size(), kSessionNameSizeMax - suffix.size());
  while (size > 0 && size < name.size() &&
         (static_cast<unsigned char>(name[size]) & 0xC0U) == 0x80U) {
    --size;
  }
  return message(std::string_view(name).substr(0, size), suffix);
}

Result<std::vector<std::byte>> read_live_record(const PackSet& packs, const LiveRecord& live) {
  KVAULT_TRY(std::vector<std::byte> bytes,
             read_record(packs, place_of(live).pack, live.offset_bytes));
  KVAULT_TRY(const RecordHeader header, verify_record(bytes, packs.keys()));
  KVAULT_CHECK(check_same(header, live));
  return bytes;
}

Result<RecordHeader> verify_live_record(const PackSet& packs, const LiveRecord& live) {
  KVAULT_TRY(const std::vector<std::byte> bytes, read_live_record(packs, live));
  return parse_header(bytes);
}

Result<RecordHeader> verify_commit_record(const PackSet& packs, const SessionId& session,
                                          const CommitPlace& place, CommitMeta& meta) {
  const PackName pack{PackKind::log, place.pack_number};
  KVAULT_TRY(const std::vector<std::byte> bytes, read_record(packs, pack, place.offset_bytes));
  KVAULT_TRY(const RecordHeader header, verify_record(bytes, packs.keys()));
  if (header.kind != RecordKind::commit || header.session != session ||
      header.checksum != place.checksum || header.transaction != place.transaction) {
    return fail(Errc::corrupt, message("the record at ", place.offset_bytes, " of ",
                                       file_name_of(pack), " is not the commit it should be"));
  }
  KVAULT_TRY(meta, parse_commit_meta(header, bytes, packs.keys()));
  return header;
}

Result<Rebuilt> rebuild_from_packs(const PackSet& packs, const NamespaceKey& secret) {
  Rebuilt rebuilt;
  rebuilt.epoch = packs.epoch_max();
  Candidates candidates;
  for (const auto& [name, entry] : packs.entries()) {
    if (!entry.pack_id) {
      rebuilt.damage.push_back(message(file_name_of(name), ": its header is damaged"));
    }
    if (name.kind == PackKind::log) {
      KVAULT_CHECK(scan_pack(packs, name, entry.size_bytes, rebuilt, candidates));
    }
  }
  for (auto& [session, found] : candidates) {
    KVAULT_CHECK(take_newest(packs, secret, found, rebuilt));
  }
  make_names_unique(packs.keys() != nullptr, rebuilt);
  return rebuilt;
}

}  // namespace kvault
