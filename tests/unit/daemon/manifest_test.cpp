#include "daemon/manifest.hpp"

#include <doctest/doctest.h>

#include <string>

namespace kvault {
namespace {

/// A chat step by step: records are made up, their places never matter here.
class Chat {
 public:
  explicit Chat(bool is_recurrent = false) {
    meta_.description.shape.layers = {{.kind = LayerKind::full_attention}};
    if (is_recurrent) meta_.description.shape.layers.push_back({.kind = LayerKind::recurrent});
  }

  Chat& page(std::uint64_t page) { return add(RecordKind::page, page * 128, 128); }
  Chat& tail(std::uint64_t first, std::uint64_t end) {
    return add(RecordKind::tail, first, static_cast<std::uint32_t>(end - first));
  }
  Chat& snapshot(std::uint64_t position) { return add(RecordKind::snapshot, position, 0); }

  /// Everything that is there is kept.
  Errc commit(std::uint64_t n_token) { return commit(n_token, meta_.n_token, meta_.n_page); }
  Errc commit(std::uint64_t n_token, std::uint64_t kept_n_token, std::uint64_t kept_n_page) {
    ++transaction_;
    for (LiveRecord& record : added_) record.transaction = transaction_;
    Result<CommitMeta> next = next_manifest(
        meta_, {.n_token = n_token, .kept_n_token = kept_n_token, .kept_n_page = kept_n_page},
        added_);
    added_.clear();
    if (!next) return next.error().code;
    meta_ = std::move(*next);
    return Errc{};
  }

  /// "p0 p1 t128-300 s300"
  std::string text() const {
    std::string text;
    for (const LiveRecord& record : meta_.records) {
      if (!text.empty()) text += " ";
      switch (record.kind) {
        case RecordKind::page:
          text += message("p", record.first_token / 128);
          break;
        case RecordKind::tail:
          text += message("t", record.first_token, "-", record.first_token + record.n_token);
          break;
        default:
          text += message("s", record.first_token);
      }
    }
    return text;
  }
  std::uint64_t n_page() const { return meta_.n_page; }

 private:
  Chat& add(RecordKind kind, std::uint64_t first_token, std::uint32_t n_token) {
    added_.push_back({.kind = kind, .first_token = first_token, .n_token = n_token});
    return *this;
  }

  CommitMeta meta_;
  std::vector<LiveRecord> added_;
  std::uint64_t transaction_ = 0;
};

constexpr Errc kFine{};

TEST_CASE("short: manifest: a growing chat keeps one page of raw history behind its tail") {
  Chat chat;
  CHECK(chat.tail(0, 100).commit(100) == kFine);
  CHECK(chat.tail(100, 255).commit(255) == kFine);
  CHECK(chat.text() == "t0-100 t100-255");
  CHECK(chat.tail(255, 256).page(0).commit(256) == kFine);
  CHECK(chat.n_page() == 1);
  CHECK(chat.text() == "p0 t0-100 t100-255 t255-256");
  CHECK(chat.tail(256, 384).page(1).commit(384) == kFine);
  CHECK(chat.text() == "p0 p1 t100-255 t255-256 t256-384");
  CHECK(chat.tail(384, 520).page(2).commit(520) == kFine);
  CHECK(chat.text() == "p0 p1 p2 t256-384 t384-520");
  // A long prompt at once: pages, and rows for the end only.
  CHECK(chat.page(3).page(4).page(5).page(6).tail(896, 1030).commit(1030) == kFine);
  CHECK(chat.text() == "p0 p1 p2 p3 p4 p5 p6 t896-1030");
}

TEST_CASE("short: manifest: rollback cuts tails and drops pages") {
  Chat chat;
  CHECK(chat.tail(0, 300).page(0).commit(300) == kFine);
  CHECK(chat.tail(300, 500).page(1).page(2).commit(500) == kFine);
  CHECK(chat.commit(450, 450, 2) == kFine);  // inside the tail: exact
  CHECK(chat.text() == "p0 p1 t0-300 t300-450");
  CHECK(chat.commit(290, 290, 1) == kFine);
  CHECK(chat.text() == "p0 t0-290");
  CHECK(chat.tail(290, 400).commit(400) == kFine);
  CHECK(chat.text() == "p0 t0-290 t290-400");
  CHECK(chat.tail(128, 150).commit(150, 128, 1) == kFine);  // to a page's end, and on
  CHECK(chat.text() == "p0 t0-128 t128-150");
  CHECK(chat.commit(0, 0, 0) == kFine);
  CHECK(chat.text().empty());
}

TEST_CASE("short: manifest: holes, doubles and contradictions are refused") {
  Chat chat;
  CHECK(chat.commit(1) == Errc::incomplete);
  CHECK(chat.tail(1, 5).commit(5) == Errc::incomplete);
  CHECK(chat.tail(0, 5).commit(4) == Errc::invalid_argument);
  CHECK(chat.tail(0, 5).tail(4, 6).commit(6) == Errc::invalid_argument);
  CHECK(chat.tail(0, 5).tail(6, 8).commit(8) == Errc::incomplete);
  CHECK(chat.page(1).tail(0, 300).commit(300) == Errc::incomplete);
  CHECK(chat.page(0).page(0).tail(0, 300).commit(300) == Errc::invalid_argument);
  CHECK(chat.page(0).tail(0, 127).commit(127) == Errc::invalid_argument);
  CHECK(chat.commit(0, 1, 0) == Errc::invalid_argument);
  CHECK(chat.commit(0, 0, 1) == Errc::invalid_argument);
  CHECK(chat.text().empty());

  CHECK(chat.page(0).tail(0, 300).commit(300) == kFine);
  CHECK(chat.tail(299, 310).commit(310) == Errc::invalid_argument);
  CHECK(chat.tail(301, 310).commit(310) == Errc::incomplete);
  CHECK(chat.page(0).commit(300) == Errc::invalid_argument);
  CHECK(chat.commit(299, 300, 1) == Errc::invalid_argument);
  CHECK(chat.commit(100, 100, 1) == Errc::invalid_argument);
  CHECK(chat.commit(UINT64_MAX, 300, 1) == Errc::invalid_argument);
  CHECK(chat.text() == "p0 t0-300");
  // Rows that left are not there for a rollback below them.
  CHECK(chat.page(1).page(2).tail(300, 600).commit(600) == kFine);
  CHECK(chat.text() == "p0 p1 p2 t0-300 t300-600");
  CHECK(chat.page(3).tail(600, 700).commit(700) == kFine);
  CHECK(chat.text() == "p0 p1 p2 p3 t300-600 t600-700");
  CHECK(chat.commit(290, 290, 2) == Errc::incomplete);
  CHECK(chat.commit(256, 256, 2) == kFine);
  CHECK(chat.text() == "p0 p1");
}

TEST_CASE("short: manifest: recurrent models have a snapshot at the end, and the newest four") {
  Chat chat(true);
  CHECK(chat.tail(0, 10).commit(10) == Errc::incomplete);
  CHECK(chat.tail(0, 10).snapshot(11).commit(10) == Errc::invalid_argument);
  CHECK(chat.tail(0, 10).snapshot(10).commit(10) == kFine);
  for (std::uint64_t end = 20; end <= 60; end += 10) {
    CHECK(chat.tail(end - 10, end).snapshot(end).commit(end) == kFine);
  }
  CHECK(chat.text() == "t0-10 t10-20 t20-30 t30-40 t40-50 t50-60 s30 s40 s50 s60");
  CHECK(chat.commit(60) == kFine);
  CHECK(chat.commit(45, 45, 0) == Errc::incomplete);
  CHECK(chat.commit(40, 40, 0) == kFine);
  CHECK(chat.text() == "t0-10 t10-20 t20-30 t30-40 s30 s40");
  CHECK(chat.snapshot(40).commit(40) == kFine);  // the newer one of a position stays
  CHECK(chat.text() == "t0-10 t10-20 t20-30 t30-40 s30 s40");
  CHECK(chat.commit(0, 0, 0) == kFine);
  CHECK(chat.text().empty());
}

}  // namespace
}  // namespace kvault
