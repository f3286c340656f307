#include "tools/bench/run_facts.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string_view>
#include <thread>

#include "core/base/result.hpp"

namespace kvault::tools {
namespace {

/// The first line that a shell command prints; empty where it fails.
std::string first_line_of(const char* command) {
  const auto close = [](FILE* pipe) { pclose(pipe); };
  const std::unique_ptr<FILE, decltype(close)> pipe(popen(command, "r"), close);
  char line[256] = {};
  if (!pipe || std::fgets(line, sizeof line, pipe.get()) == nullptr) return {};
  const std::string_view text = line;
  return std::string(text.substr(0, text.find('\n')));
}

std::string find_commit() {
  // Another project's checkout says nothing about this program.
  if (first_line_of("git ls-files :/tools/bench/bench_command.cpp 2>/dev/null").empty()) {
    return {};
  }
  const std::string commit = first_line_of("git rev-parse --short HEAD 2>/dev/null");
  const bool is_changed =
      !first_line_of("git --no-optional-locks status --porcelain -uno 2>/dev/null").empty();
  return is_changed && !commit.empty() ? commit + " and changes" : commit;
}

std::string find_processor() {
  std::ifstream stream("/proc/cpuinfo");
  std::string name = "unknown";
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with("model name")) continue;
    name = line.substr(std::min(line.find(": ") + 2, line.size()));
    break;
  }
  return message(name, ", ", std::thread::hardware_concurrency(), " threads");
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&now, &utc);
  char text[16] = {};
  std::strftime(text, sizeof text, "%Y-%m-%d", &utc);
  return text;
}

std::string quote(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,=+@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted(1, '\'');
  for (const char c : word) {
    if (c == '\'') quoted += "'\\'";
    quoted += c;
  }
  quoted += '\'';
  return quoted;
}

}  // namespace

RunFacts RunFacts::collect(std::string command, std::string note) {
  return {today(),          KVAULT_VERSION_STRING, find_commit(),
          find_processor(), std::move(command),    std::move(note)};
}

std::string command_of(int argc, const char* const* argv) {
  std::string command = std::filesystem::path(argv[0]).filename();
  for (int i = 1; i < argc; ++i) {
    command += ' ';
    command += quote(argv[i]);
  }
  return command;
}

}  // namespace kvault::tools
