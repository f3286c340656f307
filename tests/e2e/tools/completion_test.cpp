#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "tests/e2e/daemon_process.hpp"
#include "tests/e2e/daemon_records.hpp"
#include "tests/e2e/tools/cli_case.hpp"
#include "tests/support/skip.hpp"

// What the Tab key offers, asked of the shells themselves. Bash is asked by tools/help's own test.

namespace kvault::test::cli {
namespace {

const std::string kCompletions = std::string(KVAULT_TEST_SOURCE_DIR) + "/tools/completions";

bool has(const char* program) {
  return std::system((std::string("command -v ") + program + " >/dev/null").c_str()) == 0;
}

/// What a shell command prints, with the programs of this build found first, and their default
/// kvaultd in `directory`.
std::string output_of(const std::filesystem::path& directory, const std::string& command) {
  const std::filesystem::path programs = std::filesystem::path(KVAULT_TEST_KVAULT).parent_path();
  std::ofstream(directory / "command.sh")
      << "export KVAULT_DATA_DIR='" << (directory / "data").native() << "' KVAULT_RUNTIME_DIR='"
      << (directory / "s").native() << "' PATH='" << programs.native() << "':\"$PATH\"\n"
      << command << "\n";
  const std::string out = (directory / "out").native();
  static_cast<void>(std::system(
      ("timeout 60 sh '" + (directory / "command.sh").native() + "' >'" + out + "' 2>&1 </dev/null")
          .c_str()));
  std::ifstream file(out);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool offers(const std::string& text, const std::string& word) {
  return text.find(word) != std::string::npos;
}

void make_sessions(const Daemon& daemon) {
  Client client = daemon.connect();
  REQUIRE_OK(client.create_session(describe("tea")));
  REQUIRE_OK(client.create_session(describe("tide")));
}

/// Types into an interactive zsh, presses Tab, and prints what it then shows.
constexpr const char* kZshTyping = R"(zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D; echo REA''DY"
while zpty -r z line; do [[ $line == *READY* ]] && break; done
zpty -w -n z "$2"$'\t\t'
for (( i = 0; i < 100; ++i )); do
  sleep 0.1
  while zpty -rt z piece; do shown+=$piece; i=90; done
done
print -r -- "$shown"
)";

}  // namespace

TEST_CASE("completion: fish offers commands, options, choices and names of sessions") {
  if (!has("fish")) KVAULT_TEST_SKIP("there is no fish");
  const TemporaryDirectory directory;
  const Daemon daemon(directory.path());
  make_sessions(daemon);
  const auto ask = [&](const std::string& typed) {
    return output_of(directory.path(), "HOME='" + directory.path().native() +
                                           "' fish -c \"source '" + kCompletions +
                                           "/kvault.fish'; source '" + kCompletions +
                                           "/kvaultd.fish'; complete -C'" + typed + "'\"");
  };
  CHECK(offers(ask("kvault name"), "namespaces\t"));
  CHECK(offers(ask("kvault namespaces --re"), "--remove\t"));
  CHECK(!offers(ask("kvault stats --re"), "--remove"));
  CHECK(offers(ask("kvault demo --preset k4"), "k4v3\t"));
  CHECK(offers(ask("kvaultd --log-level "), "warn\t"));
  const std::string names = ask("kvault show t");
  CHECK(offers(names, "tea"));
  CHECK(offers(names, "tide"));
}

TEST_CASE("completion: zsh offers commands, options, choices and names of sessions") {
  if (!has("zsh")) KVAULT_TEST_SKIP("there is no zsh");
  const TemporaryDirectory directory;
  const Daemon daemon(directory.path());
  make_sessions(daemon);
  const std::string script = (directory.path() / "type.zsh").native();
  std::ofstream(script) << kZshTyping;
  const auto ask = [&](const std::string& typed) {
    return output_of(directory.path(), "ZDOTDIR='" + directory.path().native() + "' zsh -f '" +
                                           script + "' '" + kCompletions + "' '" + typed + "'");
  };
  CHECK(offers(ask("kvault name"), "spaces"));
  const std::string options = ask("kvault namespaces --");
  CHECK(offers(options, "--remove"));
  CHECK(offers(options, "--token-file"));
  const std::string presets = ask("kvault demo --preset k4");
  CHECK(offers(presets, "k4v3"));
  CHECK(offers(presets, "k4v4"));
  CHECK(offers(ask("kvaultd --log-level "), "error"));
  const std::string names = ask("kvault show t");
  CHECK(offers(names, "tea"));
  CHECK(offers(names, "tide"));
}

}  // namespace kvault::test::cli
