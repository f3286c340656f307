#include <algorithm>

#include "tests/torture/model/truth.hpp"

namespace kvault::torture {
namespace {

constexpr std::uint64_t kPage = 128;
constexpr std::uint64_t kWindow = 16;  // small_session()

/// Which tokens of a session have rows in tails up to its end without a hole, and in which pages.
class Rows {
 public:
  explicit Rows(const SessionTruth& session) : session_(session) {
    std::vector<bool> has_row(session.n_token(), false);
    for (const RecordTruth& record : session.records) {
      if (record.kind != RecordKind::tail) continue;
      for (std::uint64_t t = 0; t < record.n_token; ++t) has_row[record.first_token + t] = true;
    }
    first_raw_ = session.n_token();
    while (first_raw_ > 0 && has_row[first_raw_ - 1]) --first_raw_;
  }

  /// Every token of the page, as far as there are tokens, is raw.
  bool is_page_raw(std::uint64_t page) const { return page * kPage >= first_raw_; }

  bool has_window_row(std::uint64_t token) const {
    if (is_page_raw(token / kPage)) return true;
    for (const RecordTruth& record : session_.records) {
      if (record.kind != RecordKind::page || record.first_token / kPage != token / kPage) continue;
      return record.has_windows;
    }
    return false;
  }

 private:
  const SessionTruth& session_;
  std::uint64_t first_raw_ = 0;
};

/// Page and page before raw; the first page is never lost, as it may stay sealed too.
bool is_exact(const SessionTruth& session, const Rows& rows, std::uint64_t position) {
  const std::uint64_t page = position / kPage;
  if (!rows.is_page_raw(page)) return false;
  return page == 0 || rows.is_page_raw(page - 1) || (page == 1 && session.n_page > 0);
}

bool can_go_on(const SessionTruth& session, const Rows& rows, std::uint64_t position) {
  const bool is_boundary = position % kPage == 0 && position / kPage <= session.n_page;
  if (position != session.n_token() && !is_boundary && !is_exact(session, rows, position)) {
    return false;
  }
  for (std::uint64_t t = position + 1 - std::min(position + 1, kWindow); t < position; ++t) {
    if (!rows.has_window_row(t)) return false;
  }
  if (!session.is_recurrent()) return true;
  return std::any_of(session.records.begin(), session.records.end(), [&](const RecordTruth& r) {
    return r.kind == RecordKind::snapshot && r.first_token == position;
  });
}

}  // namespace

KeptTruth kept_at(const SessionTruth& session, std::uint64_t n_token) {
  const Rows rows(session);
  for (std::uint64_t position = n_token; position > 0; --position) {
    if (!can_go_on(session, rows, position)) continue;
    if (position == session.n_token()) return {position, session.n_page};
    const std::uint64_t page = position / kPage;
    if (!is_exact(session, rows, position)) return {position, page};
    // The page before and this one go on as rows.
    const std::uint64_t n_sealed = page > 1 ? page - 1 : page;
    return {position, std::min(session.n_page, n_sealed)};
  }
  return {};
}

SessionTruth fork_of(const SessionTruth& source, KeptTruth kept, std::string name) {
  const CommitPlan plan{.expected_commit_number = source.commit_number,
                        .kept_n_token = kept.n_token,
                        .kept_n_page = kept.n_page,
                        .new_tokens = {},
                        .uploads = {}};
  SessionTruth fork = *predict(source, plan).after;
  fork.id.reset();
  fork.commit_number = 0;
  fork.description.name = std::move(name);
  fork.attributes = {.forked_from = *source.id, .forked_at_token = kept.n_token};
  return fork;
}

}  // namespace kvault::torture
