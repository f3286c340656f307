#include "tools/demo/demo_run.hpp"

#include <optional>

#include "tools/cli/progress_bar.hpp"

namespace kvault::tools {
namespace {

/// The number of tokens at which the app dies: half of the context of a turn past the middle.
std::uint64_t kill_position(const Workload& workload) {
  const std::uint64_t half = workload.n_token() / 2;
  std::uint64_t begin = 0;
  for (const Turn& turn : workload.turns) {
    if (begin >= half) return begin + turn.context.size() / 2;
    begin += turn.n_token();
  }
  return half;
}

void take(const DemoEvent& event, SeenChat& seen) {
  switch (event.kind) {
    case EventKind::opened:
      seen.resumed_at = event.n_token;
      seen.resume_ms = event.milliseconds;
      break;
    case EventKind::replied:
      if (event.index >= seen.replies.size()) seen.replies.resize(event.index + 1);
      seen.replies[event.index] = {.token = event.token, .logits_hash = event.hash};
      break;
    case EventKind::saved:
      seen.acknowledged = event.n_token;
      seen.save_ms.push_back(event.milliseconds);
      break;
    case EventKind::finished:
      seen.n_token = event.n_token;
      seen.tokens_hash = event.hash;
      seen.numbers = event.numbers;
      break;
    case EventKind::progress:
      break;
  }
}

/// Takes what the app says to its end, or to the first progress at or past `kill_at`, where both
/// are killed. Whether they were.
Result<bool> watch(DemoStage& stage, std::optional<std::uint64_t> kill_at, ProgressBar& bar,
                   SeenChat& seen) {
  bool is_killed = false;
  while (const std::optional<std::string> line = stage.read_app_line()) {
    KVAULT_TRY(const DemoEvent event, parse_event(*line));
    take(event, seen);
    bar.show(event.n_token);
    if (is_killed || !kill_at || event.kind != EventKind::progress || event.n_token < *kill_at) {
      continue;
    }
    stage.kill_both();
    seen.killed_at = event.n_token;
    is_killed = true;  // what is still in the pipe was said before the end
  }
  return is_killed;
}

}  // namespace

Result<SeenChat> run_interrupted(const Workload& workload, DemoStage& stage, bool with_progress) {
  SeenChat seen;
  ProgressBar bar("chat, killed once", workload.n_token(), with_progress);
  KVAULT_CHECK(stage.start_daemon());
  KVAULT_CHECK(stage.start_app());
  KVAULT_TRY(const bool is_killed, watch(stage, kill_position(workload), bar, seen));
  const int status = stage.wait_for_app();
  if (!is_killed) {
    return fail(Errc::internal, message("the app ended with status ", status,
                                        " before it was killed: ", stage.last_words_of_app()));
  }
  const std::uint64_t acknowledged = seen.acknowledged;
  KVAULT_CHECK(stage.start_daemon());
  KVAULT_CHECK(stage.start_app());
  KVAULT_CHECK(watch(stage, std::nullopt, bar, seen));
  if (const int exit_status = stage.wait_for_app(); exit_status != 0) {
    return fail(Errc::internal, message("the resumed app ended with status ", exit_status, ": ",
                                        stage.last_words_of_app()));
  }
  seen.acknowledged = acknowledged;
  if (seen.resumed_at < acknowledged) {
    return fail(Errc::corrupt, message(acknowledged, " tokens were acknowledged, ", seen.resumed_at,
                                       " came back"));
  }
  return seen;
}

}  // namespace kvault::tools
