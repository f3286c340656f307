#pragma once

#include <filesystem>
#include <string>

#include "core/base/result.hpp"
#include "tools/demo/workload.hpp"

namespace kvault::tools {

/// What the app is told.
struct DemoAppOptions {
  WorkloadOptions workload;
  std::string socket_path;
  std::string session;                ///< its name; created where there is none
  std::filesystem::path logits_file;  ///< f32 [n_reply][n_vocab], kept across its lives
};

/// An app with a chat: opens its session, goes on after the last turn that was saved, saves after
/// every turn and writes what happens to stdout, one DemoEvent per line. Meant to be killed.
Result<int> run_demo_app(const DemoAppOptions& options);

}  // namespace kvault::tools
