#include "tests/torture/model/truth.hpp"

#include <algorithm>
#include <tuple>

#include "core/base/result.hpp"

namespace kvault::torture {
namespace {

constexpr std::size_t kSnapshotsKeptByFormat = 4;  // docs/format.md, not the header

using Records = std::vector<RecordTruth>;

/// What a rollback to the kept tokens and pages leaves.
Records kept_of(const SessionTruth& before, const CommitPlan& plan) {
  Records kept;
  for (RecordTruth record : before.records) {
    const std::uint64_t first = record.first_token;
    if (record.kind == RecordKind::page && first / 128 >= plan.kept_n_page) continue;
    if (record.kind == RecordKind::snapshot && first > plan.kept_n_token) continue;
    if (record.kind == RecordKind::tail) {
      if (first >= plan.kept_n_token) continue;
      const std::uint64_t n_left = plan.kept_n_token - first;
      record.n_token = static_cast<std::uint32_t>(std::min<std::uint64_t>(record.n_token, n_left));
    }
    kept.push_back(std::move(record));
  }
  return kept;
}

RecordTruth truth_of(const Upload& upload, std::uint64_t age) {
  const auto& chunks = upload.draft.meta.chunks;
  const bool has_windows = std::any_of(chunks.begin(), chunks.end(), [](const Chunk& chunk) {
    return chunk.kind == ChunkKind::segment && chunk.layer == 1;
  });
  return {.kind = upload.draft.kind,
          .first_token = upload.draft.first_token,
          .n_token = upload.draft.n_token,
          .token_ids = upload.draft.meta.token_ids,
          .payload_checksum = payload_checksum(upload.payload),
          .has_windows = has_windows,
          .age = age};
}

/// The newest snapshots, one per position.
void thin_snapshots(Records& records) {
  Records snapshots;
  for (const RecordTruth& record : records) {
    if (record.kind == RecordKind::snapshot) snapshots.push_back(record);
  }
  std::erase_if(records, [](const RecordTruth& r) { return r.kind == RecordKind::snapshot; });
  std::sort(snapshots.begin(), snapshots.end(), [](const RecordTruth& a, const RecordTruth& b) {
    return std::tuple(a.age, a.first_token) > std::tuple(b.age, b.first_token);
  });
  Records kept;
  for (const RecordTruth& snapshot : snapshots) {
    const bool is_old = std::any_of(kept.begin(), kept.end(), [&](const RecordTruth& other) {
      return other.first_token == snapshot.first_token;
    });
    if (!is_old && kept.size() < kSnapshotsKeptByFormat) kept.push_back(snapshot);
  }
  records.insert(records.end(), kept.begin(), kept.end());
}

bool covers_all_tokens(const SessionTruth& truth) {
  std::vector<bool> is_there(truth.n_token(), false);
  for (const RecordTruth& record : truth.records) {
    for (std::uint64_t t = 0; t < record.n_token; ++t) is_there[record.first_token + t] = true;
  }
  return std::find(is_there.begin(), is_there.end(), false) == is_there.end();
}

bool has_snapshot_at_end(const SessionTruth& truth) {
  if (!truth.is_recurrent() || truth.n_token() == 0) return true;
  return std::any_of(truth.records.begin(), truth.records.end(), [&](const RecordTruth& record) {
    return record.kind == RecordKind::snapshot && record.first_token == truth.n_token();
  });
}

Comparison lost(std::string sentence) { return {Difference::lost, std::move(sentence)}; }
Comparison wrong(std::string sentence) { return {Difference::wrong, std::move(sentence)}; }

const RecordTruth* find(const SessionTruth& truth, const ServedRecord& served) {
  for (const RecordTruth& record : truth.records) {
    if (record.kind == served.kind && record.first_token == served.first_token) return &record;
  }
  return nullptr;
}

Comparison compare_record(const SessionTruth& truth, const ServedSession& session,
                          const ServedRecord& served) {
  const std::string what =
      message("'", session.description.name, "' commit ", session.commit_number, ": ",
              name_of(served.kind), " of token ", served.first_token);
  const RecordTruth* record = find(truth, served);
  if (record == nullptr) return wrong(what + " is not part of this state");
  const Result<ReadRecord> read = read_served(served, session.key);
  if (!read) return lost(message(what, ": ", read.error().message));
  if (served.n_token != record->n_token) {
    return wrong(message(what, " has ", served.n_token, " tokens, not ", record->n_token));
  }
  if (read->meta.token_ids != record->token_ids) return wrong(what + " has other token ids");
  if (read->payload_checksum != record->payload_checksum) return wrong(what + " has other bytes");
  return {};
}

/// Pages without a hole, rows for the rest, a snapshot where the model needs one.
bool is_whole(const SessionTruth& truth, const ServedSession& served) {
  std::vector<bool> is_there(truth.n_token(), false);
  bool has_snapshot = !truth.is_recurrent() || truth.n_token() == 0;
  std::uint64_t n_page = 0;
  for (const ServedRecord& record : served.records) {
    if (record.kind == RecordKind::page) ++n_page;
    if (record.kind == RecordKind::snapshot && record.first_token == truth.n_token()) {
      has_snapshot = true;
    }
    for (std::uint64_t t = 0; t < record.n_token; ++t) {
      if (record.first_token + t < is_there.size()) is_there[record.first_token + t] = true;
    }
  }
  return has_snapshot && n_page == truth.n_page &&
         std::find(is_there.begin(), is_there.end(), false) == is_there.end();
}

}  // namespace

Outcome predict(const SessionTruth& before, const CommitPlan& plan) {
  const auto refuse = [](Errc code) { return Outcome{std::nullopt, code}; };
  if (plan.expected_commit_number != before.commit_number) return refuse(Errc::conflict);
  if (plan.kept_n_token > before.n_token() || plan.kept_n_page > before.n_page ||
      plan.kept_n_page > plan.kept_n_token / 128) {
    return refuse(Errc::invalid_argument);
  }
  SessionTruth after = before;
  after.commit_number = before.commit_number + 1;
  after.tokens.resize(plan.kept_n_token);
  after.tokens.insert(after.tokens.end(), plan.new_tokens.begin(), plan.new_tokens.end());
  after.records = kept_of(before, plan);
  std::uint64_t age = 0;
  for (const RecordTruth& record : after.records) age = std::max(age, record.age + 1);
  for (const Upload& upload : plan.uploads) after.records.push_back(truth_of(upload, age));
  after.n_page = static_cast<std::uint64_t>(
      std::count_if(after.records.begin(), after.records.end(),
                    [](const RecordTruth& r) { return r.kind == RecordKind::page; }));
  if (!covers_all_tokens(after)) return refuse(Errc::incomplete);
  // Rows of the last two whole pages are never dropped; those before go once their page is there.
  const std::uint64_t n_whole = after.n_token() / 128;
  const std::uint64_t history =
      std::min(after.n_page, n_whole - std::min<std::uint64_t>(2, n_whole)) * 128;
  std::erase_if(after.records, [&](const RecordTruth& record) {
    return record.kind == RecordKind::tail && record.first_token + record.n_token <= history;
  });
  thin_snapshots(after.records);
  if (!has_snapshot_at_end(after)) return refuse(Errc::incomplete);
  std::sort(after.records.begin(), after.records.end(),
            [](const RecordTruth& a, const RecordTruth& b) {
              return std::tuple(a.kind, a.first_token) < std::tuple(b.kind, b.first_token);
            });
  return {std::move(after), {}};
}

Comparison compare(const SessionTruth& truth, const ServedSession& served) {
  const std::string what = message("'", truth.description.name, "'");
  if (truth.id && *truth.id != served.id) return lost(what + " is another session of this name");
  if (served.description != truth.description) return wrong(what + " has another description");
  if (served.attributes != truth.attributes) return wrong(what + " has other attributes");
  if (served.commit_number != truth.commit_number) {
    return lost(
        message(what, " is at commit ", served.commit_number, ", not ", truth.commit_number));
  }
  if (served.n_token != truth.n_token() || served.n_page != truth.n_page) {
    return wrong(message(what, " has ", served.n_token, " tokens and ", served.n_page,
                         " pages, not ", truth.n_token(), " and ", truth.n_page));
  }
  for (const ServedRecord& record : served.records) {
    const Comparison comparison = compare_record(truth, served, record);
    if (comparison.difference != Difference::none) return comparison;
  }
  if (!is_whole(truth, served)) return lost(what + " lacks records of its state");
  return {};
}

}  // namespace kvault::torture
