#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "tests/torture/parts/part.hpp"

namespace kvault::torture {
namespace {

constexpr const char* kFooter = R"(
Exit status: 0 when nothing was lost and nothing wrong was served, 1 otherwise, 2 for bad options.

examples:
  kvault-torture --short                          what ctest runs, under a minute
  kvault-torture --json > torture.json            the long form, all parts but soak
  kvault-torture --only crash --images 100000     many crash images and nothing else
  kvault-torture --only simulate --seed 7         the same steps again
  kvault-torture --only fuzz --inputs 5000000     millions of inputs to every parser
  kvault-torture --only soak --minutes 60 --clients 32
)";

/// A directory for all that is written, gone at the end.
class Scratch {
 public:
  Scratch() {
    std::error_code ignored;
    const std::filesystem::path memory = "/dev/shm";
    const bool has_memory = std::filesystem::is_directory(memory, ignored);
    const std::filesystem::path parent =
        has_memory ? memory : std::filesystem::temp_directory_path();
    std::string pattern = (std::filesystem::canonical(parent) / "kvault-torture-XXXXXX").native();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no room at " + pattern);
    path_ = pattern;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct Flags {
  TortureOptions options;
  std::vector<std::string> only;
  bool is_json = false;
};

void add_options(CLI::App& app, Flags& flags) {
  TortureOptions& options = flags.options;
  std::vector<std::string> names;
  for (const Part& part : parts()) names.emplace_back(part.name);
  app.add_flag("--short", options.is_short, "a sample of everything, under a minute");
  app.add_option("--seed", options.seed, "of all that is random")->capture_default_str();
  app.add_option("--only", flags.only, "these parts only; may be repeated")
      ->check(CLI::IsMember(names))
      ->allow_extra_args(false);
  app.add_flag("--json", flags.is_json, "the report as JSON on stdout");
  app.add_option("--images", options.n_image, "crash images to check");
  app.add_option("--kills", options.n_kill, "times to kill kvaultd");
  app.add_option("--steps", options.n_step, "steps to simulate");
  app.add_option("--inputs", options.n_input, "inputs for every fuzz target");
  app.add_option("--minutes", options.minutes, "soak: how long")->capture_default_str();
  app.add_option("--clients", options.n_client, "soak: how many")->capture_default_str();
  app.footer(kFooter);
}

bool is_wanted(const Part& part, const std::vector<std::string>& only) {
  if (only.empty()) return part.is_default;
  return std::find(only.begin(), only.end(), part.name) != only.end();
}

int run(const Flags& flags) {
  std::signal(SIGPIPE, SIG_IGN);
  const Scratch scratch;
  TortureOptions options = flags.options;
  options.scratch = scratch.path();
  Report report(options.seed, true);
  for (const Part& part : parts()) {
    if (!is_wanted(part, flags.only)) continue;
    report.begin_part(part.name);
    part.run(options, report);
    report.end_part();
  }
  std::printf("%s\n", flags.is_json ? report.json().c_str() : report.text().c_str());
  return report.is_clean() ? 0 : 1;
}

}  // namespace
}  // namespace kvault::torture

int main(int argc, char** argv) try {
  CLI::App app("kvault-torture: crashes, kills, faults, flipped bits and hostile bytes",
               "kvault-torture");
  kvault::torture::Flags flags;
  kvault::torture::add_options(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return kvault::torture::run(flags);
} catch (const std::exception& exception) {
  std::fprintf(stderr, "kvault-torture: %s\n", exception.what());
  return 2;
}
