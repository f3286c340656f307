#include <algorithm>
#include <tuple>

#include "daemon/catalog_check.hpp"
#include "daemon/clock.hpp"
#include "daemon/disk_store.hpp"
#include "daemon/manifest.hpp"
#include "daemon/rebuild.hpp"

namespace kvault {
namespace {

constexpr std::uint64_t kVerifyBatch = 256;

}  // namespace

void DiskStore::note_damage(const SessionState& state, std::string_view what, const Error& error,
                            VerifyReport& report) {
  ++counters_.n_damage;
  if (is_of_machine(error) && !report.unreadable) report.unreadable = error;
  report.damage.push_back(
      message("session '", state.meta.description.name, "', ", what, ": ", error.message));
}

void DiskStore::verify_commit(const SessionState& state, VerifyReport& report) {
  ++report.n_session;
  CommitMeta meta;
  const Result<RecordHeader> commit = verify_commit_record(packs(), state.id, state.place, meta);
  if (!commit) {
    note_damage(state, "commit record", commit.error(), report);
  } else if (const std::string difference = disagreement(state, *commit, meta);
             !difference.empty()) {
    note_damage(state, "commit record", Error{Errc::corrupt, difference}, report);
  }
  report.bytes += state.place.length_bytes;
}

/// pre: records are in the order of kind and first token, as the catalog gives them.
bool DiskStore::verify_records(const SessionState& state, VerifyCursor& cursor,
                               std::uint64_t bytes_max, VerifyReport& report) {
  const std::uint64_t bytes_before = report.bytes;
  for (const LiveRecord& live : state.meta.records) {
    const auto place = std::tuple(live.kind, live.first_token);
    if (cursor.is_begun && place <= std::tuple(cursor.kind, cursor.first_token)) continue;
    if (report.bytes - bytes_before >= bytes_max) return false;
    const Result<RecordHeader> header = verify_live_record(packs(), live);
    if (!header) {
      note_damage(state, message(name_of(live.kind), " of token ", live.first_token),
                  header.error(), report);
      const std::uint64_t first = report.first_damaged_token.value_or(live.first_token);
      report.first_damaged_token = std::min(first, live.first_token);
    }
    cursor = {true, live.kind, live.first_token};
    ++report.n_record;
    report.bytes += live.length_bytes;
  }
  return true;
}

Result<bool> DiskStore::verify_part(const SessionId& session, VerifyCursor& cursor,
                                    std::uint64_t bytes_max, VerifyReport& report) {
  KVAULT_TRY(const SessionState state, catalog().load(session));
  if (!cursor.is_begun) verify_commit(state, report);
  return verify_records(state, cursor, bytes_max, report);
}

Result<> DiskStore::verify_pack_headers(VerifyReport& report) {
  KVAULT_TRY(const std::vector<PackUse> uses, catalog().pack_uses());
  for (const PackUse& use : uses) {
    if (const Result<> checked = packs().check_header(use.name); !checked) {
      report.damage.push_back(message(file_name_of(use.name), ": ", checked.error().message));
    }
  }
  return {};
}

Result<VerifyReport> DiskStore::verify(const std::optional<SessionId>& session) {
  VerifyReport report;
  if (session) {
    VerifyCursor cursor;
    KVAULT_CHECK(verify_part(*session, cursor, UINT64_MAX, report));
    return report;
  }
  KVAULT_CHECK(verify_pack_headers(report));
  std::string after_name;
  for (;;) {
    KVAULT_TRY(const std::vector<SessionRow> rows, catalog().list(after_name, kVerifyBatch));
    for (const SessionRow& row : rows) {
      VerifyCursor cursor;
      KVAULT_CHECK(verify_part(row.id, cursor, UINT64_MAX, report));
    }
    if (rows.size() < kVerifyBatch) return report;
    after_name = rows.back().name;
  }
}

Result<VerifyReport> DiskStore::repair(const SessionId& session) {
  if (holds_.contains(session)) {
    return fail(Errc::busy, message("session ", to_hex(session), " is in use"));
  }
  KVAULT_TRY(VerifyReport report, verify(session));
  if (report.damage.empty()) return report;
  if (report.unreadable) return tl::unexpected<Error>(*report.unreadable);
  KVAULT_TRY(const SessionState before, catalog().load(session));
  SessionState after = before;
  if (report.first_damaged_token) {
    // A damaged snapshot stands at its position: what is kept must end before it.
    const std::uint64_t damaged = *report.first_damaged_token;
    const std::uint64_t limit = std::min(damaged, before.meta.n_token);
    KVAULT_TRY(const KeptPosition kept, kept_before(before, limit));
    const CommitRequest request{
        .n_token = kept.n_token, .kept_n_token = kept.n_token, .kept_n_page = kept.n_page};
    KVAULT_TRY(after.meta, next_manifest(before.meta, request, {}));
    after.commit_number = before.commit_number + 1;
    after.meta.committed_at_s = seconds_since_1970();
  }
  after.place = {.transaction = next_transaction_++};
  KVAULT_CHECK(write_commits({&after, 1}, {}));
  KVAULT_CHECK(before_catalog());
  KVAULT_CHECK(catalog().update({after}));
  return report;
}

/// The newest position that needs no record which begins at or behind `limit`.
Result<KeptPosition> DiskStore::kept_before(const SessionState& state, std::uint64_t limit) {
  SessionState sound = state;
  std::erase_if(sound.meta.records,
                [limit](const LiveRecord& live) { return live.first_token >= limit; });
  // The end of the rows and pages that are left without a hole.
  std::uint64_t end = 0;
  sound.meta.n_page = 0;
  for (const LiveRecord& live : sound.meta.records) {
    if (live.kind == RecordKind::page) sound.meta.n_page = live.first_token / kPageTokens + 1;
    if (live.kind == RecordKind::page || live.first_token <= end) {
      end = std::max(end, live.first_token + live.n_token);
    }
  }
  sound.meta.n_token = std::min(end, state.meta.n_token);
  return kept_position_of(sound, sound.meta.n_token);
}

}  // namespace kvault
