#include "daemon/manifest.hpp"

#include <algorithm>
#include <tuple>

#include "core/layout/scheme.hpp"

namespace kvault {
namespace {

bool has_recurrent_layers(const ModelShape& shape) {
  return std::any_of(shape.layers.begin(), shape.layers.end(),
                     [](const LayerSpec& layer) { return layer.kind == LayerKind::recurrent; });
}

Result<> check_request(const CommitMeta& before, const CommitRequest& request) {
  if (request.kept_n_token > before.n_token || request.n_token < request.kept_n_token ||
      request.n_token > kSessionTokensMax) {
    return fail(
        Errc::invalid_argument,
        message("keep ", request.kept_n_token, " of ", before.n_token, " tokens, then have ",
                request.n_token, "; the limit is ", kSessionTokensMax));
  }
  if (request.kept_n_page > before.n_page ||
      request.kept_n_page > request.kept_n_token / kPageTokens) {
    return fail(Errc::invalid_argument, message("keep ", request.kept_n_page, " of ", before.n_page,
                                                " pages and ", request.kept_n_token, " tokens"));
  }
  return {};
}

/// The records of the state before that the request keeps.
std::vector<LiveRecord> kept_records(const CommitMeta& before, const CommitRequest& request) {
  std::vector<LiveRecord> records;
  for (LiveRecord record : before.records) {
    switch (record.kind) {
      case RecordKind::page:
        if (record.first_token / kPageTokens < request.kept_n_page) records.push_back(record);
        break;
      case RecordKind::tail: {
        if (record.first_token >= request.kept_n_token) break;
        const std::uint64_t n_left = request.kept_n_token - record.first_token;
        record.n_token =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(record.n_token, n_left));
        records.push_back(record);
        break;
      }
      default:
        if (record.first_token <= request.kept_n_token) records.push_back(record);
    }
  }
  return records;
}

Result<> check_added(const CommitRequest& request, const LiveRecord& record) {
  const std::uint64_t begin_min =
      record.kind == RecordKind::page ? request.kept_n_page * kPageTokens : request.kept_n_token;
  if (record.first_token >= begin_min && record.first_token + record.n_token <= request.n_token) {
    return {};
  }
  return fail(
      Errc::invalid_argument,
      message("a ", name_of(record.kind), " of tokens ", record.first_token, " to ",
              record.first_token + record.n_token, " in a commit that keeps ", request.kept_n_page,
              " pages and ", request.kept_n_token, " tokens and ends at ", request.n_token));
}

/// Pages must count 0, 1, 2, ...; returns how many there are.
Result<std::uint64_t> count_pages(const std::vector<LiveRecord>& records) {
  std::uint64_t n_page = 0;
  for (const LiveRecord& record : records) {
    if (record.kind != RecordKind::page) continue;
    const std::uint64_t page = record.first_token / kPageTokens;
    if (page > n_page) {
      return fail(Errc::incomplete, message("page ", n_page, " is missing before page ", page));
    }
    if (page < n_page) {
      return fail(Errc::invalid_argument, message("page ", page, " comes twice"));
    }
    ++n_page;
  }
  return n_page;
}

/// Tail rows must reach from the last sealed page to the end, and never overlap.
Result<> check_tail(const std::vector<LiveRecord>& records, std::uint64_t n_page,
                    std::uint64_t n_token) {
  std::uint64_t position = n_page * kPageTokens;
  std::uint64_t end = 0;
  for (const LiveRecord& record : records) {
    if (record.kind != RecordKind::tail) continue;
    if (record.first_token < end) {
      return fail(Errc::invalid_argument,
                  message("tail rows of token ", record.first_token, " come twice"));
    }
    end = record.first_token + record.n_token;
    if (record.first_token > position) break;
    position = std::max(position, end);
  }
  if (position >= n_token) return {};
  return fail(Errc::incomplete,
              message("token ", position, " of ", n_token, " is in no page and no tail"));
}

/// The page before the tail: its rows stay, so that a rollback inside the tail is exact. Behind it
/// are one or two pages, the last of them perhaps not full.
std::uint64_t history_page(const CommitMeta& meta) {
  const std::uint64_t n_full = meta.n_token / kPageTokens;
  return std::min(meta.n_page, n_full > 2 ? n_full - 2 : 0);
}

/// The last of the snapshots of each position, and of these the newest.
void drop_old_snapshots(std::vector<LiveRecord>& records) {
  std::vector<LiveRecord> snapshots;
  const auto is_snapshot = [](const LiveRecord& r) { return r.kind == RecordKind::snapshot; };
  std::copy_if(records.begin(), records.end(), std::back_inserter(snapshots), is_snapshot);
  std::erase_if(records, is_snapshot);
  std::sort(snapshots.begin(), snapshots.end(), [](const LiveRecord& a, const LiveRecord& b) {
    return std::tuple(a.transaction, a.first_token) > std::tuple(b.transaction, b.first_token);
  });
  std::vector<LiveRecord> kept;
  for (const LiveRecord& snapshot : snapshots) {
    const bool is_replaced = std::any_of(kept.begin(), kept.end(), [&](const LiveRecord& newer) {
      return newer.first_token == snapshot.first_token;
    });
    if (!is_replaced && kept.size() < kSnapshotsKept) kept.push_back(snapshot);
  }
  records.insert(records.end(), kept.rbegin(), kept.rend());
}

void sort_records(std::vector<LiveRecord>& records) {
  std::sort(records.begin(), records.end(), [](const LiveRecord& a, const LiveRecord& b) {
    return std::tuple(a.kind, a.first_token) < std::tuple(b.kind, b.first_token);
  });
}

Result<> check_snapshot(const CommitMeta& meta) {
  if (meta.n_token == 0 || !has_recurrent_layers(meta.description.shape)) return {};
  for (const LiveRecord& record : meta.records) {
    if (record.kind == RecordKind::snapshot && record.first_token == meta.n_token) return {};
  }
  return fail(Errc::incomplete,
              message("the recurrent layers have no snapshot at token ", meta.n_token));
}

}  // namespace

Result<CommitMeta> next_manifest(const CommitMeta& before, const CommitRequest& request,
                                 const std::vector<LiveRecord>& added) {
  KVAULT_CHECK(check_request(before, request));
  CommitMeta after = before;
  after.n_token = request.n_token;
  after.records = kept_records(before, request);
  for (const LiveRecord& record : added) {
    KVAULT_CHECK(check_added(request, record));
    after.records.push_back(record);
  }
  sort_records(after.records);
  KVAULT_TRY(after.n_page, count_pages(after.records));
  if (after.n_page < request.kept_n_page) {
    return fail(Errc::incomplete, message("page ", after.n_page, " of ", request.kept_n_page,
                                          " kept pages is missing"));
  }
  KVAULT_CHECK(check_tail(after.records, after.n_page, after.n_token));
  const std::uint64_t history = history_page(after) * kPageTokens;
  std::erase_if(after.records, [&](const LiveRecord& record) {
    return record.kind == RecordKind::tail && record.first_token + record.n_token <= history;
  });
  drop_old_snapshots(after.records);
  sort_records(after.records);
  KVAULT_CHECK(check_snapshot(after));
  if (after.records.size() > kLiveRecordsMax) {
    return fail(Errc::limit_exceeded,
                message(after.records.size(), " live records; the limit is ", kLiveRecordsMax));
  }
  return after;
}

}  // namespace kvault
