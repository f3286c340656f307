#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "kvault/kvault.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/e2e/tools/cli_case.hpp"

// The commands that talk to kvaultd: sessions, show, verify, stats, rm.

namespace kvault::test::cli {
namespace {

/// Saves a session of 300 tokens through the SDK.
void save_session(const Daemon& daemon, const std::string& name) {
  auto client = sdk::Client::connect({.auto_start = false, .socket_path = daemon.socket_path()});
  REQUIRE(client.is_ok());
  const kvault_layer layer = {KVAULT_FULL_ATTENTION, 2, 1, 64, 64, 0, KVAULT_TQ4, KVAULT_TQ4};
  auto session = sdk::Session::open(
      client.value(),
      {.name = name,
       .cache = {.layers = {&layer, 1}, .row_type = KVAULT_F32, .equalise = KVAULT_EQUALISE_NONE},
       .create = true});
  REQUIRE(session.is_ok());
  Arrays rows{.n_token = 300};
  fill_normal(rows, 41);
  REQUIRE(session->cache()
              .append(0, {.data = rows.k, .n_token = 300}, {.data = rows.v, .n_token = 300})
              .is_ok());
  const std::vector<std::uint32_t> ids(300, 7);
  const auto saved = session->save(ids);
  REQUIRE(saved.is_ok());
  CHECK(saved->n_token == 300);
}

/// Flips one byte in the middle of the largest pack below `folder`.
void damage_pack(const std::string& folder) {
  std::filesystem::path largest;
  std::uintmax_t size = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file() || entry.path().extension() != ".pack") continue;
    if (entry.file_size() <= size) continue;
    largest = entry.path();
    size = entry.file_size();
  }
  REQUIRE(size > 0);
  std::fstream file(largest, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(size / 2));
  const auto byte = static_cast<char>(file.get() ^ 1);
  file.seekp(static_cast<std::streamoff>(size / 2));
  file.put(byte);
  REQUIRE(file.good());
}

}  // namespace

TEST_CASE("short: cli sessions: what was saved is listed, shown, verified and removed") {
  const TemporaryDirectory directory;
  const Daemon daemon(directory.path());
  daemon.connect();
  const Folder folder;
  const auto run = [&](const std::string& words) {
    return run_kvault(folder, words + " --no-auto-start --socket '" + daemon.socket_path() + "'");
  };
  CHECK(run("sessions").out == "no sessions yet\n");
  save_session(daemon, "alpha");
  save_session(daemon, "beta");

  const auto list = nlohmann::json::parse(run("sessions --json").out);
  REQUIRE(list.size() == 2);
  CHECK(list[0]["n_token"] == 300);
  const RunResult human = run("sessions");
  CHECK(human.out.find("alpha") != std::string::npos);
  CHECK(human.out.find("beta") != std::string::npos);

  const auto shown = nlohmann::json::parse(run("show alpha --json").out);
  CHECK(shown["name"] == "alpha");
  CHECK(shown["n_page"] == 1);
  CHECK(shown["commit_number"] == 1);
  const std::string id = shown["id"];
  CHECK(nlohmann::json::parse(run("show --json " + id).out)["name"] == "alpha");

  CHECK(nlohmann::json::parse(run("stats --json").out)["n_session"] == 2);
  const auto verified = nlohmann::json::parse(run("verify beta --json").out);
  CHECK(verified["n_damaged"] == 0);
  CHECK(verified["n_record"].get<int>() > 0);

  CHECK(run("rm alpha").exit_code == 0);
  check_refused(run("show alpha"), {"not_found", "alpha"});
  check_refused(run("rm alpha"), {"not_found", "alpha"});
  check_refused(run("verify alpha"), {"alpha"});
  CHECK(nlohmann::json::parse(run("sessions --json").out).size() == 1);
}

TEST_CASE("short: cli verify: damage on disk is found and gives exit status 1") {
  const TemporaryDirectory directory;
  const Daemon daemon(directory.path());
  daemon.connect();
  const Folder folder;
  save_session(daemon, "alpha");
  damage_pack(daemon.data_directory());
  const RunResult result =
      run_kvault(folder, "verify --no-auto-start --json --socket '" + daemon.socket_path() + "'");
  CHECK(result.exit_code == 1);
  const auto report = nlohmann::json::parse(result.out, nullptr, false);
  REQUIRE(report.is_object());
  CHECK(report["n_damaged"].get<int>() > 0);
  // Repair tells what was damaged; what is left is sound.
  const std::string socket = " --no-auto-start --socket '" + daemon.socket_path() + "'";
  CHECK(run_kvault(folder, "verify alpha --repair" + socket).exit_code == 1);
  CHECK(run_kvault(folder, "verify alpha" + socket).exit_code == 0);
  check_refused(run_kvault(folder, "verify --repair" + socket), {"name"});
}

TEST_CASE("short: cli sessions: forks, names, labels, pins, search, metrics") {
  const TemporaryDirectory directory;
  const Daemon daemon(directory.path());
  daemon.connect();
  const Folder folder;
  const auto run = [&](const std::string& words) {
    return run_kvault(folder, words + " --no-auto-start --socket '" + daemon.socket_path() + "'");
  };
  save_session(daemon, "alpha");
  const auto fork = nlohmann::json::parse(run("fork alpha beta --at 290 --json").out);
  CHECK(fork["n_token"] == 290);
  CHECK(fork["exact"] == true);
  check_refused(run("fork alpha beta"), {"already_exists", "beta"});
  check_refused(run("fork alpha gamma --at 301"), {"300", "301"});

  CHECK(run("set beta --name \"trip to Rome\" --label travel --label italy --pin --ttl 2d")
            .exit_code == 0);
  const auto shown = nlohmann::json::parse(run("show \"trip to Rome\" --json").out);
  CHECK(shown["is_pinned"] == true);
  CHECK(shown["labels"] == nlohmann::json({"italy", "travel"}));
  CHECK(shown["expires_unix_s"].get<std::int64_t>() >
        shown["last_used_unix_s"].get<std::int64_t>() + 172'000);
  CHECK(shown["forked_at_token"] == 290);
  check_refused(run("set alpha"), {"something to change"});
  check_refused(run("set alpha --name \"trip to Rome\""), {"already_exists"});

  CHECK(nlohmann::json::parse(run("sessions Rome --json").out).size() == 1);
  CHECK(nlohmann::json::parse(run("sessions --label italy --json").out).size() == 1);
  CHECK(nlohmann::json::parse(run("sessions alpha --label italy --json").out).empty());
  CHECK(run("sessions nothing").out == "no such session\n");

  const std::string metrics = run("stats --prometheus").out;
  CHECK(metrics.find("# TYPE kvault_commits_total counter\nkvault_commits_total 1\n") !=
        std::string::npos);
  CHECK(metrics.find("\nkvault_sessions 2\n") != std::string::npos);
  const RunResult top = run("top --rounds 1");
  CHECK(top.exit_code == 0);
  CHECK(top.out.find("kvaultd: 2 sessions") != std::string::npos);
  CHECK(top.out.find("trip to Rome") != std::string::npos);
}

TEST_CASE("short: cli export, import: a session leaves in a file and comes back") {
  const TemporaryDirectory directory;
  const Daemon daemon(directory.path());
  daemon.connect();
  const Folder folder;
  const auto run = [&](const std::string& words) {
    return run_kvault(folder, words + " --no-auto-start --socket '" + daemon.socket_path() + "'");
  };
  save_session(daemon, "alpha");
  const std::string file = folder / "alpha.kvx";
  const auto written = nlohmann::json::parse(run("export alpha '" + file + "' --json").out);
  CHECK(written["size_bytes"] == std::filesystem::file_size(file));
  check_refused(run("export alpha '" + file + "'"), {"already_exists", "alpha.kvx"});
  check_refused(run("export nobody '" + file + "2'"), {"not_found", "nobody"});
  check_refused(run("import '" + file + "'"), {"already_exists", "alpha"});
  const auto copy = nlohmann::json::parse(run("import '" + file + "' --name beta --json").out);
  CHECK(copy["name"] == "beta");
  CHECK(copy["n_token"] == 300);
  CHECK(run("rm alpha beta").exit_code == 0);
  CHECK(run("import '" + file + "'").exit_code == 0);
  CHECK(nlohmann::json::parse(run("show alpha --json").out)["n_token"] == 300);
  CHECK(run("verify").exit_code == 0);
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 4096);
  check_refused(run("import '" + file + "' --name cut"), {"truncated", "alpha.kvx"});
}

TEST_CASE("short: cli sessions: no daemon is one line and exit status 2") {
  const Folder folder;
  for (const char* command : {"sessions", "show x", "rm x", "verify", "stats", "fork x y",
                              "set x --pin", "top", "export x y", "import x"}) {
    check_refused(run_kvault(folder, std::string(command) + " --no-auto-start --socket '" +
                                         folder / "none.sock" + "'"),
                  {"unreachable", "none.sock"});
  }
}

}  // namespace kvault::test::cli
