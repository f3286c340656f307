#include "daemon/catalog_check.hpp"

#include <algorithm>
#include <limits>
#include <tuple>

#include "daemon/rebuild.hpp"

namespace kvault {
namespace {

constexpr std::uint64_t kBatch = 256;

bool is_damage(Errc code) {
  return code == Errc::corrupt || code == Errc::truncated || code == Errc::unknown_format;
}

std::vector<LiveRecord> by_place(std::vector<LiveRecord> records) {
  std::sort(records.begin(), records.end(), [](const LiveRecord& a, const LiveRecord& b) {
    return std::tuple(a.pack_kind, a.pack_number, a.offset_bytes) <
           std::tuple(b.pack_kind, b.pack_number, b.offset_bytes);
  });
  return records;
}

Result<std::string> check_epoch(Catalog& catalog, const PackSet& packs) {
  KVAULT_TRY(const std::uint64_t epoch, catalog.epoch());
  KVAULT_CHECK(catalog.held_packs());  // both numbers are there
  if (packs.epoch_max() > epoch) {
    return message("the catalog of opening ", epoch, " is older than a pack of opening ",
                   packs.epoch_max());
  }
  if (epoch >= std::numeric_limits<std::uint32_t>::max()) {
    return message("the catalog counts ", epoch, " openings");
  }
  return std::string();
}

Result<std::string> check_uses(Catalog& catalog, const PackSet& packs) {
  KVAULT_TRY(const std::vector<PackUse> uses, catalog.pack_uses());
  for (const PackUse& use : uses) {
    const auto entry = packs.entries().find(use.name);
    if (entry == packs.entries().end()) return message(file_name_of(use.name), " is missing");
    if (entry->second.size_bytes < use.end_bytes) {
      return message(file_name_of(use.name), " has ", entry->second.size_bytes,
                     " bytes; its records end at ", use.end_bytes);
    }
  }
  return std::string();
}

/// A commit record that is not whole, or cannot be read, says nothing against the catalog: verify()
/// reports it, and the other sessions are served. One that is whole and another than the catalog
/// names does: records never change.
Result<std::string> check_session(Catalog& catalog, const PackSet& packs, const SessionRow& row) {
  KVAULT_TRY(const SessionState state, catalog.load(row.id));
  // Who reads the log of an encrypted store need not know its names.
  const bool is_sealed = packs.keys() != nullptr;
  const std::string session =
      is_sealed ? message("session ", to_hex(row.id), ": ") : message("session '", row.name, "': ");
  if (state.meta.description.name != row.name) {
    return message(session, "its description says another name");
  }
  const PackName pack{PackKind::log, state.place.pack_number};
  if (state.place.offset_bytes % kRecordAlignment != 0) {
    return message(session, "its commit record lies at ", state.place.offset_bytes);
  }
  std::vector<std::byte> head;
  const Result<RecordHeader> header = packs.read_head(pack, state.place.offset_bytes, head);
  if (!header) return std::string();
  if (header->kind != RecordKind::commit) return session + "its commit record is none";
  const Result<CommitMeta> meta = parse_commit_meta(*header, head, packs.keys());
  if (!meta) return std::string();
  const std::string difference = disagreement(state, *header, *meta);
  return difference.empty() ? std::string() : session + difference;
}

Result<std::string> check_sessions(Catalog& catalog, const PackSet& packs) {
  std::string after_name;
  for (;;) {
    KVAULT_TRY(const std::vector<SessionRow> rows, catalog.list(after_name, kBatch));
    for (const SessionRow& row : rows) {
      KVAULT_TRY(std::string mismatch, check_session(catalog, packs, row));
      if (!mismatch.empty()) return mismatch;
    }
    if (rows.size() < kBatch) return std::string();
    after_name = rows.back().name;
  }
}

}  // namespace

std::string disagreement(const SessionState& state, const RecordHeader& header,
                         const CommitMeta& meta) {
  if (header.session != state.id || header.transaction != state.place.transaction ||
      header.checksum != state.place.checksum || header.length_bytes != state.place.length_bytes ||
      header.commit_number != state.commit_number) {
    return "its commit record is another one than the catalog names";
  }
  // Two sessions of one name: a rebuild renames one, and only the catalog knows.
  SessionDescription description = meta.description;
  if (state.meta.description.name == name_set_apart(description.name, state.id)) {
    description.name = state.meta.description.name;
  }
  if (description != state.meta.description) {
    return "its commit record and the catalog describe it differently";
  }
  if (meta.n_token != state.meta.n_token || meta.n_page != state.meta.n_page ||
      meta.created_at_s != state.meta.created_at_s ||
      meta.committed_at_s != state.meta.committed_at_s ||
      meta.attributes != state.meta.attributes ||
      by_place(meta.records) != by_place(state.meta.records)) {
    return "its commit record does not agree with the catalog";
  }
  return {};
}

Result<std::string> find_mismatch(Catalog& catalog, const PackSet& packs) {
  for (const auto check : {check_epoch, check_uses, check_sessions}) {
    Result<std::string> mismatch = check(catalog, packs);
    if (!mismatch && is_damage(mismatch.error().code)) return mismatch.error().message;
    if (!mismatch || !mismatch->empty()) return mismatch;
  }
  return std::string();
}

}  // namespace kvault
