#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "kvault/kvault.hpp"
#include "tools/demo/child_process.hpp"
#include "tools/demo/workload.hpp"

namespace kvault::tools {

/// A directory for one demo, private to the user; deleted at the end unless it is to be kept.
class DemoDirectory {
 public:
  static Result<DemoDirectory> create(bool keep);
  DemoDirectory(DemoDirectory&& other) noexcept;
  DemoDirectory& operator=(DemoDirectory&&) = delete;
  ~DemoDirectory();

  const std::filesystem::path& path() const { return path_; }

 private:
  DemoDirectory(std::filesystem::path path, bool keep) : path_(std::move(path)), keep_(keep) {}

  std::filesystem::path path_;
  bool keep_;
};

/// Where the demo plays: a kvaultd of its own in a directory of its own, and an app. Both can be
/// killed and started again, any number of times.
class DemoStage {
 public:
  static Result<DemoStage> create(const WorkloadOptions& workload, bool keep);

  /// Returns once the daemon answers.
  Result<> start_daemon();
  Result<> start_app();
  /// SIGKILL to both, the daemon first.
  void kill_both();

  /// Empty where the app is over.
  std::optional<std::string> read_app_line();
  /// The exit status of the app, which is over.
  int wait_for_app();
  Result<sdk::Client> connect() const;

  const std::filesystem::path& directory() const { return directory_.path(); }
  std::filesystem::path logits_file() const { return directory() / "logits.f32"; }
  /// The last line the app wrote to stderr; empty if none.
  std::string last_words_of_app() const;

 private:
  DemoStage(DemoDirectory directory, WorkloadOptions workload, std::filesystem::path daemon);
  std::filesystem::path socket() const { return directory() / "run" / "kvaultd.sock"; }

  DemoDirectory directory_;
  WorkloadOptions workload_;
  std::filesystem::path daemon_program_;
  std::optional<ChildProcess> daemon_;
  std::optional<ChildProcess> app_;
};

}  // namespace kvault::tools
