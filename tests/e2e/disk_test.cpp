#include <doctest/doctest.h>
#include <sys/statvfs.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "core/os/process.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/e2e/daemon_records.hpp"
#include "tests/e2e/private_mounts.hpp"
#include "tests/support/skip.hpp"

// A disk that is read-only, or full, or becomes so: a named error, and nothing acknowledged is
// lost.

namespace kvault::test {
namespace {

namespace fs = std::filesystem;
using client::OpenMode;

constexpr std::uint64_t kKiB = 1024;

/// What fills a disk beside kvaultd.
class Filler {
 public:
  explicit Filler(const fs::path& disk) : path_(disk / "filler") {
    std::ofstream file(path_, std::ios::binary);
    const std::vector<char> page(4096, 'x');
    while (file.write(page.data(), static_cast<std::streamsize>(page.size())).flush()) {
    }
    struct statvfs left {};
    REQUIRE(::statvfs(disk.c_str(), &left) == 0);
    CHECK(left.f_bavail == 0);
  }
  Filler(const Filler&) = delete;
  Filler& operator=(const Filler&) = delete;
  ~Filler() { fs::remove(path_); }

 private:
  fs::path path_;
};

/// A session open for writing, and what of it was acknowledged.
struct Chat {
  SessionDescription description = describe("chat", 128);
  client::SessionInfo info{};

  void open(Client& client) {
    auto session = client.open_session("chat", &description, OpenMode::write);
    REQUIRE_OK(session);
    info = session->info;
  }
  Result<> append(Client& client, std::uint32_t n_token) {
    KVAULT_TRY(const client::CommitInfo commit,
               test::append(client, info, description.shape, n_token));
    info.commit_number = commit.commit_number;
    info.n_token = commit.n_token;
    info.n_page = commit.n_page;
    return {};
  }
  /// The session is as it was acknowledged, and whole.
  void check_kept(Client& client) const {
    const auto found = client.inspect("chat");
    REQUIRE_OK(found);
    CHECK(found->info.commit_number == info.commit_number);
    CHECK(found->info.n_token == info.n_token);
    const auto report = client.verify("chat");
    REQUIRE_OK(report);
    CHECK(report->n_damage == 0);
  }
};

/// A client, or nothing where the daemon has ended by itself.
std::optional<Client> connect_or_see_end(const Daemon& daemon) {
  for (int i = 0; i < 2000; ++i) {
    auto client = Client::connect(daemon.client_options());
    if (client) return std::move(*client);
    siginfo_t ended{};
    const auto pid = static_cast<id_t>(daemon.pid());
    REQUIRE(::waitid(P_PID, pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0);
    if (ended.si_pid != 0) return std::nullopt;
    ::poll(nullptr, 0, 5);
  }
  FAIL("kvaultd neither serves nor ends");
  return std::nullopt;
}

/// In the system's words, or in SQLite's.
bool says_full(const std::string& text) {
  return text.find("No space left") != std::string::npos ||
         text.find("disk is full") != std::string::npos;
}

bool names_full_disk(const Error& error) {
  return error.code == Errc::disk_full && says_full(error.message);
}

}  // namespace

TEST_CASE("short: disk: a read-only one is refused by name, and left as it is") {
  if (const std::string why = PrivateMounts::enter(); !why.empty()) KVAULT_TEST_SKIP(why);
  const TemporaryDirectory directory;
  Chat chat;
  {
    Daemon daemon(directory.path());
    Client client = daemon.connect();
    REQUIRE_OK(client.create_session(chat.description));
    chat.open(client);
    REQUIRE_OK(chat.append(client, 40));
  }
  const fs::path data = directory.path() / "data";
  REQUIRE(PrivateMounts::mount_read_only(data).empty());
  {
    Daemon daemon(directory.path());
    CHECK(daemon.wait() == 1);
    const std::string log = daemon.log();
    CAPTURE(log);
    CHECK(log.find("Read-only file system") != std::string::npos);
    CHECK(log.find(data.native()) != std::string::npos);
    // An app that would start it is told the same.
    ClientOptions options = daemon.client_options();
    options.auto_start = true;
    options.daemon_path = KVAULT_TEST_KVAULTD;
    const auto refused = Client::connect(options);
    REQUIRE(!refused);
    CHECK(refused.error().code == Errc::unreachable);
    CHECK(refused.error().message.find("Read-only file system") != std::string::npos);
  }
  PrivateMounts::unmount(data);
  const fs::path fresh = directory.path() / "fresh";
  REQUIRE_OK(make_private_directory(fresh));
  REQUIRE(PrivateMounts::mount_read_only(fresh).empty());
  {
    Daemon daemon(directory.path(), {"--data-dir", fresh.native()});
    CHECK(daemon.wait() == 1);
    CHECK(daemon.log().find("Read-only file system") != std::string::npos);
  }
  PrivateMounts::unmount(fresh);
  const Daemon daemon(directory.path());
  Client client = daemon.connect();
  chat.check_kept(client);
}

TEST_CASE("short: disk: one that is too small is served or refused by name, at every size") {
  if (const std::string why = PrivateMounts::enter(); !why.empty()) KVAULT_TEST_SKIP(why);
  const TemporaryDirectory directory;
  const fs::path data = directory.path() / "data";
  REQUIRE_OK(make_private_directory(data));
  int n_refused = 0;
  int n_served = 0;
  for (std::uint64_t size = 4 * kKiB; size <= 512 * kKiB;
       size += (size < 128 * kKiB ? 4 : 32) * kKiB) {
    CAPTURE(size);
    REQUIRE(PrivateMounts::mount_small_disk(data, size).empty());
    {
      Daemon daemon(directory.path(), {"--quota", "0"});
      std::optional<Client> client = connect_or_see_end(daemon);
      if (!client) {
        ++n_refused;
        CHECK(daemon.wait() == 1);
        CHECK(says_full(daemon.log()));
      } else {
        ++n_served;
        int n_created = 0;
        for (;; ++n_created) {
          const auto created = client->create_session(describe(std::to_string(n_created)));
          if (!created) {
            CAPTURE(created.error().message);
            CHECK(names_full_disk(created.error()));
          }
          if (!created || n_created == 40) break;
        }
        CHECK(client->list()->size() == static_cast<std::size_t>(n_created));
      }
    }
    PrivateMounts::unmount(data);
    fs::remove(directory.path() / "log");
  }
  MESSAGE(n_refused << " sizes refused, " << n_served << " served");
  CHECK(n_refused > 0);
  CHECK(n_served > 0);
}

TEST_CASE("short: disk: one that becomes full refuses by name and goes on once there is room") {
  if (const std::string why = PrivateMounts::enter(); !why.empty()) KVAULT_TEST_SKIP(why);
  const TemporaryDirectory directory;
  const fs::path data = directory.path() / "data";
  REQUIRE_OK(make_private_directory(data));
  REQUIRE(PrivateMounts::mount_small_disk(data, 8192 * kKiB).empty());
  Chat chat;
  for (int life = 0; life < 4; ++life) {
    CAPTURE(life);
    Daemon daemon(directory.path(), {"--quota", "0"});
    Client client = daemon.connect();
    if (life == 0) REQUIRE_OK(client.create_session(chat.description));
    chat.check_kept(client);
    chat.open(client);
    REQUIRE_OK(chat.append(client, 400));
    {
      const Filler filler(data);
      Result<> refused;
      // What lies in packs already may hold a few more.
      for (int i = 0; i < 50 && refused; ++i) refused = chat.append(client, 400);
      REQUIRE(!refused);
      CAPTURE(refused.error().message);
      CHECK(names_full_disk(refused.error()));
      CHECK(names_full_disk(client.create_session(describe("new")).error()));
      CHECK(client.list()->size() == 1);
      chat.check_kept(client);
      if (life == 1) {
        // Dies on the full disk, and is started there: it serves, or says why not.
        daemon.kill();
        fs::remove(daemon.log_path());
        Daemon next(directory.path(), {"--quota", "0"});
        std::optional<Client> reader = connect_or_see_end(next);
        if (reader) chat.check_kept(*reader);
        if (!reader) CHECK(next.wait() == 1);
        CAPTURE(next.log());
        if (!reader) CHECK(says_full(next.log()));
        continue;
      }
    }
    REQUIRE_OK(chat.append(client, 40));
    chat.check_kept(client);
    if (life == 2) daemon.signal(SIGTERM);
    if (life == 2) CHECK(daemon.wait() == 0);
  }
  const Daemon daemon(directory.path());
  Client client = daemon.connect();
  chat.check_kept(client);
  PrivateMounts::unmount(data);
}

}  // namespace kvault::test
