#pragma once

#include <cstdint>
#include <vector>

#include "core/base/result.hpp"
#include "tools/demo/demo_events.hpp"
#include "tools/demo/demo_stage.hpp"

namespace kvault::tools {

/// A generated token as the app reported it.
struct SeenReply {
  std::uint32_t token = 0;
  std::uint64_t logits_hash = 0;
};

/// What was seen of a chat that was killed once.
struct SeenChat {
  std::vector<SeenReply> replies;  ///< as of the last life that gave them
  std::vector<double> save_ms;
  std::uint64_t killed_at = 0;     ///< tokens run when the kill was ordered
  std::uint64_t acknowledged = 0;  ///< tokens of the last save the app was told of before
  std::uint64_t resumed_at = 0;
  double resume_ms = 0;
  std::uint64_t n_token = 0;
  std::uint64_t tokens_hash = 0;
  FinalNumbers numbers;
};

/// Lets the app begin the chat, kills app and daemon in the middle of a turn past half of it,
/// starts both again and lets the app finish. Errc::corrupt where something acknowledged is gone.
Result<SeenChat> run_interrupted(const Workload& workload, DemoStage& stage, bool with_progress);

}  // namespace kvault::tools
