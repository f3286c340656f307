#include <doctest/doctest.h>
#include <poll.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/e2e/daemon_process.hpp"
#include "tests/e2e/tools/cli_case.hpp"

// kvault namespaces: made, listed, removed after a question.

namespace kvault::test::cli {
namespace {

namespace fs = std::filesystem;

/// Runs it until nobody is seen in the namespace any more: the end of a client takes a moment.
RunResult run_alone(const Folder& folder, const std::string& words) {
  for (int i = 0;; ++i) {
    RunResult result = run_kvault(folder, words);
    if (i == 200 || result.err.find("other clients") == std::string::npos) return result;
    ::poll(nullptr, 0, 20);
  }
}

/// What is typed.
std::string saying(const Folder& folder, const std::string& answer) {
  std::ofstream(folder / "answer") << answer;
  return " <'" + (folder / "answer") + "'";
}

}  // namespace

TEST_CASE("short: cli namespaces: one is made, listed, and removed by who says yes") {
  const TemporaryDirectory directory;
  const Folder folder;
  const Daemon daemon(directory.path());
  static_cast<void>(daemon.connect());
  const std::string socket = " --socket '" + daemon.socket_path() + "'";
  const std::string token = " --token-file '" + (folder / "token") + "'";
  for (const bool encrypts : {false, true}) {
    CAPTURE(encrypts);
    const std::string name = encrypts ? "secret" : "plain";
    const fs::path store = fs::path(daemon.data_directory()) / "namespaces" / name;
    const RunResult made = run_kvault(
        folder, "namespaces --new " + name + (encrypts ? " --encrypt" : "") + token + socket);
    CHECK(made.exit_code == 0);
    CHECK(fs::exists(store));
    const RunResult listed = run_kvault(folder, "namespaces --json" + socket);
    CHECK(nlohmann::json::parse(listed.out).contains(name));
    const std::string removal = "namespaces --remove " + name + socket;
    check_refused(run_kvault(folder, removal), {"--token-file"});
    for (const char* answer : {"", "\n", "no\n", "Y es\n"}) {
      const RunResult kept = run_alone(folder, removal + token + saying(folder, answer));
      CHECK(kept.exit_code == 2);
      CHECK(kept.err.find("0 sessions for good? [y/N]") != std::string::npos);
      CHECK(kept.err.find("stays") != std::string::npos);
      CHECK(fs::exists(store));
    }
    const RunResult removed = run_alone(folder, removal + token + " --yes --json");
    CHECK(removed.exit_code == 0);
    CHECK(nlohmann::json::parse(removed.out)["removed"] == name);
    CHECK(nlohmann::json::parse(removed.out)["keys_destroyed"] == encrypts);
    CHECK(!fs::exists(store));
    check_refused(run_kvault(folder, removal + token + " --yes"), {"there is no namespace"});
    // It may be made again, and removed with a yes.
    CHECK(run_kvault(folder, "namespaces --new " + name + token + socket).exit_code == 0);
    CHECK(run_alone(folder, removal + token + saying(folder, "yes\n")).exit_code == 0);
    CHECK(!fs::exists(store));
  }
  check_refused(run_kvault(folder, "namespaces --yes" + socket), {"--remove"});
  check_refused(run_kvault(folder, "namespaces --new a --remove a" + token + socket), {"--remove"});
}

}  // namespace kvault::test::cli
