#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "core/base/result.hpp"
#include "tools/demo/demo_run.hpp"
#include "tools/demo/workload.hpp"
#include "tools/model/scores.hpp"

namespace kvault::tools {

/// A chat that nothing interrupted, beside the one that was.
struct PlainChat {
  std::vector<std::uint32_t> tokens;                ///< all of them
  std::vector<std::vector<std::uint32_t>> replies;  ///< [turn][question]
  std::uint64_t n_different_reply = 0;              ///< tokens generated that are others
  std::uint64_t n_different_logits = 0;             ///< replies whose logits are not the same bits
  RecallScore recall;  ///< n_asked == 0 where there are no known answers
};

/// Runs the workload in a cache of this process and compares every reply with what was seen and
/// with its logits in the file.
Result<PlainChat> run_uninterrupted(const Workload& workload, const SeenChat& seen,
                                    const std::filesystem::path& logits_file, bool with_progress);

/// The preset beside an uncompressed cache.
struct RawScore {
  KlScore kl;
  RecallScore recall;
  RecallScore agreement;  ///< replies that are also the uncompressed run's likeliest
};

/// Runs the same tokens with raw pages and compares the logits in the file with its own.
Result<RawScore> run_raw(const Workload& workload, const PlainChat& chat,
                         const std::filesystem::path& logits_file, bool with_progress);

/// Milliseconds to compute the first n_token tokens' cache again, in large steps.
Result<double> measure_reprefill(const Workload& workload, const PlainChat& chat,
                                 std::uint64_t n_token, bool with_progress);

}  // namespace kvault::tools
