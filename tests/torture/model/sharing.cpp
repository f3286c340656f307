#include "tests/torture/model/sharing.hpp"

#include <algorithm>

namespace kvault::torture {
namespace {

using test::Random;

constexpr std::size_t kSessionsMax = 9;
constexpr std::uint64_t kFarFuture = 99'999'999'999;  // seconds since 1970
constexpr std::uint64_t kLongAgo = 1000;
/// A session with more rows behind its pages than an app leaves there may be overlooked by match().
constexpr std::uint64_t kRowsBehindPagesMax = 256;

/// What is in doubt cannot be predicted from.
const SessionTruth* settled_session(const World& world, Random& random) {
  const std::vector<std::string> names = world.names();
  if (names.empty()) return nullptr;
  const std::string& name = names[random.next() % names.size()];
  return world.is_in_doubt(name) ? nullptr : world.find(name);
}

/// A step that leaves its session as it is.
template <class Perform>
Step still(const SessionTruth& session, Perform perform) {
  Step step{.name = session.description.name, .after = session};
  step.perform = [session, perform](Target& target, World::State&) {
    return perform(target, session);
  };
  return step;
}

/// Tokens of a session that are those asked for: whole pages, and behind the last one the rows.
std::uint64_t n_equal_token(const SessionTruth& session, const std::vector<std::uint32_t>& tokens) {
  const std::uint64_t n_common = static_cast<std::uint64_t>(
      std::mismatch(session.tokens.begin(), session.tokens.end(), tokens.begin(), tokens.end())
          .first -
      session.tokens.begin());
  const std::uint64_t n_page = n_common / 128;
  return n_page < session.n_page ? n_page * 128 : n_common;
}

/// Complains of a match that is not as good as it should be, or better.
Result<> judge_match(const World& world, bool is_recurrent,
                     const std::vector<std::uint32_t>& tokens, const Matched& matched) {
  std::uint64_t best = 0;
  std::uint64_t found = 0;
  for (const std::string& name : world.names()) {
    const SessionTruth& session = *world.find(name);
    if (session.is_recurrent() != is_recurrent) continue;
    const std::uint64_t n_kept = kept_at(session, n_equal_token(session, tokens)).n_token;
    if (name == matched.name) found = n_kept;
    if (session.n_token() - session.n_page * 128 < kRowsBehindPagesMax)
      best = std::max(best, n_kept);
  }
  if (matched.kept_n_token == found && found >= best) return {};
  return fail(Errc::internal,
              message("match of ", tokens.size(), " tokens: '", matched.name, "' keeps ",
                      matched.kept_n_token, ", the model says ", found, ", and the best ", best));
}

}  // namespace

std::optional<Step> plan_fork(const World& world, Random& random) {
  const SessionTruth* source = settled_session(world, random);
  if (source == nullptr || world.names().size() >= kSessionsMax) return std::nullopt;
  const std::string name = message("chat ", random.integer(1, 9));
  const std::uint64_t n_token = random.next() % (source->n_token() + 2);
  if (world.may_be_free(name)) return std::nullopt;
  Step step{.name = name};
  if (world.find(name) != nullptr) {
    step.refusal = Errc::already_exists;
  } else if (n_token > source->n_token()) {
    step.refusal = Errc::out_of_range;
  } else {
    step.after = fork_of(*source, kept_at(*source, n_token), name);
  }
  step.perform = [source = *source, n_token, name](Target& target, World::State& after) {
    const Result<Forked> fork = target.fork(source, n_token, name);
    if (!fork) return Result<>(tl::unexpected<Error>(fork.error()));
    if (after && fork->n_token != after->n_token()) {
      return Result<>(
          fail(Errc::internal, message("a fork of '", source.description.name, "' at ", n_token,
                                       " begins at ", fork->n_token, ", not ", after->n_token())));
    }
    if (after) after->id = fork->id;
    return Result<>();
  };
  return step;
}

std::optional<Step> plan_update(const World& world, Random& random) {
  const SessionTruth* session = settled_session(world, random);
  if (session == nullptr) return std::nullopt;
  SessionTruth after = *session;
  SessionChange change;
  Step step{.name = session->description.name};
  switch (random.integer(0, 3)) {
    case 0:
      change.name = message("chat ", random.integer(1, 9));
      if (world.may_be_free(*change.name)) return std::nullopt;
      if (*change.name == step.name) break;
      if (world.find(*change.name) != nullptr) step.refusal = Errc::already_exists;
      step.name_before = std::exchange(step.name, *change.name);
      after.description.name = *change.name;
      break;
    case 1:
      after.attributes.labels = {"blue", message("number ", random.integer(0, 9))};
      change.labels = {after.attributes.labels[1], "blue", "blue"};
      break;
    case 2:
      change.is_pinned = after.attributes.is_pinned = !after.attributes.is_pinned;
      break;
    default:
      change.expires_at_s = after.attributes.expires_at_s =
          random.integer(0, 1) * (kFarFuture + random.integer(0, 9));
  }
  if (!step.refusal) step.after = std::move(after);
  step.perform = [session = *session, change](Target& target, World::State&) {
    return target.update(session, change);
  };
  return step;
}

std::optional<Step> plan_match(const World& world, Random& random) {
  const SessionTruth* session = settled_session(world, random);
  if (session == nullptr || world.is_in_doubt()) return std::nullopt;
  std::vector<std::uint32_t> tokens = session->tokens;
  if (!tokens.empty() && random.integer(0, 1) == 0) tokens.resize(random.next() % tokens.size());
  tokens.push_back(random.integer(0, 150'000));
  Step step;
  step.perform = [world, tokens, description = session->description](Target& target,
                                                                     World::State&) {
    const Result<Matched> matched = target.match(description, tokens);
    if (!matched) return Result<>(tl::unexpected<Error>(matched.error()));
    if (!matched->is_judged) return Result<>();
    return judge_match(world, has_recurrent_layers(description.shape), tokens, *matched);
  };
  return step;
}

std::optional<Step> plan_maintain(const World&, Random&) {
  Step step;
  step.perform = [](Target& target, World::State&) { return target.maintain(); };
  return step;
}

std::optional<Step> plan_expire(const World& world, Random& random) {
  const SessionTruth* session = settled_session(world, random);
  if (session == nullptr) return std::nullopt;
  Step step{.name = session->description.name, .after = std::nullopt};
  step.between = {*session};
  step.between[0]->attributes.expires_at_s = kLongAgo;
  step.perform = [session = *session](Target& target, World::State&) {
    return target.expire(session);
  };
  return step;
}

std::optional<Step> plan_outlive(const World& world, Random& random) {
  const SessionTruth* session = settled_session(world, random);
  if (session == nullptr) return std::nullopt;
  Step step = still(
      *session, [](Target& target, const SessionTruth& truth) { return target.outlive(truth); });
  step.between = {*session, std::nullopt};  // where it was not given back, its time is up
  step.between[0]->attributes.expires_at_s = kLongAgo;
  return step;
}

std::optional<Step> plan_repair(const World& world, Random& random) {
  const SessionTruth* session = settled_session(world, random);
  if (session == nullptr) return std::nullopt;
  return still(*session,
               [](Target& target, const SessionTruth& truth) { return target.repair(truth); });
}

}  // namespace kvault::torture
