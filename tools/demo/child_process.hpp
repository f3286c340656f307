#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.hpp"

namespace kvault::tools {

/// A program to start.
struct ChildOptions {
  std::filesystem::path program;
  std::vector<std::string> arguments;
  std::filesystem::path stderr_file;  ///< appended to
  bool reads_output = false;          ///< its stdout comes through the pipe; else /dev/null
};

/// A program this one started, with its standard output in a pipe. Owns it: killed and waited for
/// at the end. One thread at a time.
class ChildProcess {
 public:
  static Result<ChildProcess> start(const ChildOptions& options);
  ChildProcess(ChildProcess&&) noexcept = default;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();

  /// The next line of its output without the newline; empty at its end.
  std::optional<std::string> read_line();
  /// SIGKILL. It keeps its place in the table of processes until wait().
  void kill() noexcept;
  /// Waits for its end. The exit status; 128 + signal where a signal ended it.
  int wait() noexcept;

 private:
  struct Close {
    void operator()(std::FILE* stream) const noexcept;
  };
  using Stream = std::unique_ptr<std::FILE, Close>;

  ChildProcess(Stream stream, int id) : stream_(std::move(stream)), id_(id) {}

  Stream stream_;
  int id_;
};

}  // namespace kvault::tools
