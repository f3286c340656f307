#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/daemon/store_fixture.hpp"

/// The store is killed, loses power or meets an error at every single step of its writing.
namespace kvault {
namespace {

using namespace test;

/// A day in the life of a store, every acknowledged state noted.
class Scenario {
 public:
  explicit Scenario(StoreOptions options) : store_(open_store(std::move(options))) { note(); }

  /// Runs on even where steps fail.
  void run() {
    const SessionDescription description = small_session("chat", true);
    const ModelShape& shape = description.shape;
    note(store_->create_session(description));
    note(store_->create_session(small_session("other")));
    const Result<SessionInfo> chat = store_->find_session_by_name("chat");
    if (chat) {
      const auto add = [&](std::uint64_t n_token, const std::vector<Upload>& uploads) {
        note(append(*store_, chat->id, n_token, uploads));
      };
      add(200, {tail_upload(shape, 0, 200, 1), page_upload(shape, 0, 2),
                snapshot_upload(shape, 200, 3)});
      add(300, {tail_upload(shape, 200, 300, 4), page_upload(shape, 1, 5),
                snapshot_upload(shape, 300, 6)});
      note(roll_back(*store_, chat->id, 200, 1));
      add(280, {tail_upload(shape, 200, 280, 7), snapshot_upload(shape, 280, 8)});
    }
    const Result<SessionInfo> other = store_->find_session_by_name("other");
    if (other) note(store_->remove_session(other->id));
  }

  Store& store() { return *store_; }
  const std::string& acknowledged() const { return acknowledged_; }
  /// Called with the acknowledged state before each step that may change it.
  void note() { acknowledged_ = content_of(*store_); }

 private:
  template <class T>
  void note(const Result<T>& result) {
    if (result) {
      note();
    } else {
      CHECK(content_of(*store_) == acknowledged_);  // a failure changes nothing
    }
  }

  std::unique_ptr<Store> store_;
  std::string acknowledged_;
};

TEST_CASE("store: killed at any step: the last acknowledged state") {
  const TemporaryDirectory directory;
  const TemporaryDirectory crashed;
  const TemporaryDirectory rebuilt;
  StoreOptions options = options_of(directory.path());
  options.pack_size_bytes_max = 24 * 1024;
  Scenario* running = nullptr;
  std::vector<std::string> from_packs;  // what rebuilds found, against what came next
  std::vector<std::string> acknowledged;
  std::size_t n_step = 0;
  options.on_step = [&](StoreStep, const std::filesystem::path&) -> Result<> {
    if (running == nullptr) return {};
    ++n_step;
    copy_store(directory.path(), crashed.path());
    copy_store(directory.path(), rebuilt.path());
    remove_catalog(rebuilt.path());
    CHECK(recover(crashed.path()) == running->acknowledged());
    from_packs.push_back(recover(rebuilt.path()));
    acknowledged.push_back(running->acknowledged());
    return {};
  };
  Scenario scenario(options);
  running = &scenario;
  scenario.run();
  acknowledged.push_back(scenario.acknowledged());
  CHECK(n_step > 40);
  // Without its catalog a store may bring back, besides, what was about to be acknowledged.
  for (std::size_t i = 0; i < from_packs.size(); ++i) {
    std::size_t next = i;
    while (next + 1 < acknowledged.size() && acknowledged[next] == acknowledged[i]) ++next;
    const bool is_known = from_packs[i] == acknowledged[i] || from_packs[i] == acknowledged[next];
    CAPTURE(i);
    CHECK(is_known);
  }
}

TEST_CASE("store: any step fails: an error, the state before, and the store goes on") {
  std::size_t n_step = 0;
  for (std::size_t failing = 0; failing == 0 || failing <= n_step; ++failing) {
    const TemporaryDirectory directory;
    StoreOptions options = options_of(directory.path());
    options.pack_size_bytes_max = 24 * 1024;
    std::size_t at = 0;
    std::filesystem::path failed_path;
    std::vector<char> failed_bytes;
    options.on_step = [&](StoreStep, const std::filesystem::path& path) -> Result<> {
      if (++at != failing) return {};
      if (path.extension() == ".pack" && std::filesystem::exists(path)) {
        failed_path = path;
        failed_bytes = read_file(path);
      }
      return fail(Errc::disk_full, "no space is left, says the test");
    };
    std::string acknowledged;
    {
      Scenario scenario(options);
      scenario.run();
      if (failing == 0) n_step = at;
      at = n_step + 1;  // healthy again
      REQUIRE(scenario.store().create_session(small_session("afterwards")));
      scenario.note();
      acknowledged = scenario.acknowledged();
      if (!failed_path.empty()) CHECK(read_file(failed_path) == failed_bytes);  // never again
    }
    CAPTURE(failing);
    CHECK(recover(directory.path()) == acknowledged);
  }
  CHECK(n_step > 40);
}

/// What the medium holds of the packs when power fails: what was synced, and of the rest whatever
/// the disk came to. Fed with every step, before it happens.
class Medium {
 public:
  explicit Medium(std::filesystem::path directory) : directory_(std::move(directory)) {}

  /// The step before this one is done by now.
  void on_step(StoreStep step, const std::filesystem::path& path) {
    const bool was_sync = last_step_ == StoreStep::sync_pack ||
                          last_step_ == StoreStep::sync_commit ||
                          last_step_ == StoreStep::create_pack;
    if (was_sync && std::filesystem::exists(last_path_))
      durable_[last_path_] = read_file(last_path_);
    last_step_ = step;
    last_path_ = path;
  }

  /// Puts packs into the copy of the store at `target`: of every 512 bytes not synced since they
  /// were written, all are lost (0), none reached the disk but the file has its size (1), or some
  /// of both by `seed` (2).
  void fail_power(const std::filesystem::path& target, int mode, std::uint64_t seed) const {
    Random random(seed);
    for (const auto& entry : std::filesystem::directory_iterator(directory_ / "store" / "packs")) {
      const std::vector<char> now = read_file(entry.path());
      const auto known = durable_.find(entry.path());
      std::vector<char> left = known == durable_.end() ? std::vector<char>() : known->second;
      const std::size_t durable_size = left.size();
      if (mode != 0) left.resize(now.size());
      for (std::size_t at = 0; mode == 2 && at < now.size(); at += 512) {
        const std::size_t size = std::min<std::size_t>(512, now.size() - at);
        if (random.next() % 2 == 0)
          std::copy_n(now.begin() + static_cast<long>(at), size,
                      left.begin() + static_cast<long>(at));
      }
      CHECK(durable_size <= now.size());
      write_file(pack_path(target, entry.path().filename().native()), left);
    }
  }

 private:
  std::filesystem::path directory_;
  std::map<std::filesystem::path, std::vector<char>> durable_;
  StoreStep last_step_ = StoreStep::update_catalog;
  std::filesystem::path last_path_;
};

TEST_CASE("store: power fails at any step: the last acknowledged state") {
  const TemporaryDirectory directory;
  const TemporaryDirectory crashed;
  StoreOptions options = options_of(directory.path());
  options.pack_size_bytes_max = 24 * 1024;
  Medium medium(directory.path());
  Scenario* running = nullptr;
  std::size_t n_step = 0;
  // Found by a rebuild, and what was acknowledged then; the next acknowledged state may be found.
  std::vector<std::pair<std::string, std::string>> rebuilt;
  options.on_step = [&](StoreStep step, const std::filesystem::path& path) -> Result<> {
    medium.on_step(step, path);
    if (running == nullptr) return {};
    for (int mode = 0; mode < 6; ++mode) {
      CAPTURE(n_step);
      CAPTURE(mode);
      copy_store(directory.path(), crashed.path());
      medium.fail_power(crashed.path(), std::min(mode, 2), n_step * 7 + std::uint64_t(mode));
      const bool has_catalog = mode != 4 && mode != 5;
      if (!has_catalog) remove_catalog(crashed.path());
      const std::string found = recover(crashed.path());
      if (has_catalog) {
        CHECK(found == running->acknowledged());
      } else {
        rebuilt.emplace_back(found, running->acknowledged());
      }
    }
    ++n_step;
    return {};
  };
  Scenario scenario(options);
  running = &scenario;
  scenario.run();
  rebuilt.emplace_back(scenario.acknowledged(), scenario.acknowledged());
  CHECK(n_step > 40);
  for (std::size_t i = 0; i < rebuilt.size(); ++i) {
    std::size_t next = i;
    while (next + 1 < rebuilt.size() && rebuilt[next].second == rebuilt[i].second) ++next;
    CAPTURE(i);
    const bool is_known =
        rebuilt[i].first == rebuilt[i].second || rebuilt[i].first == rebuilt[next].second;
    CHECK(is_known);
  }
}

TEST_CASE("short: store: pending records go down with the pack that a sync failed on") {
  const TemporaryDirectory directory;
  StoreOptions options = options_of(directory.path());
  bool is_failing = false;
  options.on_step = [&](StoreStep step, const std::filesystem::path&) -> Result<> {
    if (!is_failing || step != StoreStep::sync_commit) return {};
    return fail(Errc::io, "the disk is gone, says the test");
  };
  const std::unique_ptr<Store> store = open_store(options);
  const SessionDescription description = small_session("a");
  const Upload upload = tail_upload(description.shape, 0, 5);
  const SessionId a = store->create_session(description)->id;
  const SessionId b = store->create_session(small_session("b"))->id;
  const RecordHandle handle = send(*store, b, upload).value();
  const RecordHandle unfinished = store->begin_record(b, upload.draft).value();
  is_failing = true;
  CHECK(append(*store, a, 5, {upload}).error().code == Errc::io);
  is_failing = false;
  CommitRequest request{.expected_commit_number = 0, .n_token = 5};
  request.records = {handle};
  CHECK(store->commit(b, request).error().code == Errc::io);
  const Result<> written = store->write_payload(unfinished, 0, upload.payload);
  CHECK((!written && written.error().code == Errc::io));
  CHECK(store->stats()->n_pending_record == 0);
  REQUIRE(append(*store, a, 5, {upload}));
  REQUIRE(append(*store, b, 5, {upload}));
  CHECK(store->verify(std::nullopt)->damage.empty());
}

TEST_CASE("short: store: a commit syncs what it names, then itself, then tells the catalog") {
  const TemporaryDirectory directory;
  std::string steps;
  StoreOptions options = options_of(directory.path());
  options.on_step = [&](StoreStep step, const std::filesystem::path& path) -> Result<> {
    steps += path.filename().native().substr(0, 1);
    steps += "+-ps=Cu"[static_cast<std::size_t>(step)];
    steps += " ";
    return {};
  };
  const std::unique_ptr<Store> store = open_store(options);
  const SessionDescription description = small_session("chat");
  const SessionId id = store->create_session(description)->id;
  // Letters: log, pages, catalog; + new pack, - payload, p head, s sync, = commit, C its sync.
  CHECK(steps == "l+ l= lC cu ");
  steps.clear();
  REQUIRE(append(*store, id, 128,
                 {tail_upload(description.shape, 0, 3), page_upload(description.shape, 0)}));
  CHECK(steps == "l- p+ p- pp pp lp lp ps l= lC cu ");
}

}  // namespace
}  // namespace kvault
