#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "kvault/kvault.hpp"
#include "tools/model/chat.hpp"
#include "tools/model/model.hpp"

namespace kvault::tools {

/// What the demo runs: the same for the app, for the app that resumes and for the run that nothing
/// interrupts.
struct WorkloadOptions {
  std::uint64_t n_token = 0;    ///< 0: 8192, or 2048 with a model directory
  std::string model_directory;  ///< empty: the built-in model
  std::string preset = "k4v4";
  std::string device = "cpu";
};

struct Workload {
  std::unique_ptr<Model> model;
  std::vector<Turn> turns;
  std::vector<kvault_layer> layers;  ///< with the preset's schemes
  std::string device;

  static Result<Workload> create(const WorkloadOptions& options);

  std::uint64_t n_token() const;
  /// Questions asked in turns [0, n_turn).
  std::uint64_t n_question(std::size_t n_turn) const;
  /// How many turns n_token tokens are; Errc::incomplete where they end within a turn.
  Result<std::size_t> n_turn_at(std::uint64_t n_token) const;
  sdk::CacheOptions cache_options() const;
};

}  // namespace kvault::tools
