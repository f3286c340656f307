#include "tests/torture/model/operation.hpp"

#include <algorithm>
#include <array>

#include "tests/torture/model/sharing.hpp"

namespace kvault::torture {
namespace {

using test::Random;

constexpr std::size_t kSessionsMax = 8;
constexpr std::uint64_t kTokensMax = 1500;

const SessionTruth* any_session(const World& world, Random& random) {
  const std::vector<std::string> names = world.names();
  if (names.empty()) return nullptr;
  const std::string& name = names[random.next() % names.size()];
  const SessionTruth* session = world.find(name);
  const bool may_go = session != nullptr && session->is_over();
  return may_go || world.is_description_in_doubt(name) ? nullptr : session;
}

std::vector<std::uint32_t> random_tokens(std::uint32_t count, Random& random) {
  std::vector<std::uint32_t> tokens(count);
  for (std::uint32_t& token : tokens) token = random.integer(0, 150'000);
  return tokens;
}

/// More of a text that many sessions begin with, or something new.
std::vector<std::uint32_t> next_tokens(const SessionTruth& session, Random& random) {
  const std::uint32_t prompt = random.integer(0, 2);
  const std::uint32_t count = random.integer(1, session.n_token() == 0 ? 400 : 200);
  const auto n_token = static_cast<std::uint32_t>(session.n_token());
  const bool goes_on = session.tokens == prompt_tokens(prompt, 0, n_token);
  if (!goes_on || random.integer(0, 1) == 0) return random_tokens(count, random);
  return prompt_tokens(prompt, n_token, count);
}

/// Mostly the same for the same tokens; now and then other bytes, or without its windows' rows.
Upload sealed_page(const ModelShape& shape, std::uint64_t page,
                   const std::vector<std::uint32_t>& tokens, Random& random) {
  const std::span<const std::uint32_t> until(tokens.data(), (page + 1) * 128);
  const std::uint32_t kind = random.integer(0, 7);
  const std::uint64_t seed = kind == 0 ? random.next() : seed_of(until);
  return page_upload(shape, page, until.subspan(page * 128), seed, kind != 1);
}

/// Refused or not, the step says what the model predicts.
Step commit_step(const SessionTruth& session, CommitPlan plan) {
  Outcome outcome = predict(session, plan);
  Step step{.name = session.description.name, .after = {}, .refusal = {}, .perform = {}};
  if (!outcome.after) step.refusal = outcome.refusal;
  step.after = std::move(outcome.after);
  step.perform = [session, plan = std::move(plan)](Target& target, World::State&) {
    return target.commit(session, plan);
  };
  return step;
}

std::optional<Step> create(const World& world, Random& random) {
  if (world.names().size() >= kSessionsMax) return std::nullopt;
  const std::string name = message("chat ", random.integer(1, 9));
  if (world.may_be_free(name)) return std::nullopt;
  SessionTruth truth;
  truth.description = small_session(name, random.integer(0, 2) == 0);
  Step step{.name = name, .after = truth, .refusal = {}, .perform = {}};
  if (world.find(name) != nullptr) step.refusal = Errc::already_exists;
  step.perform = [description = truth.description](Target& target, World::State& after) {
    const Result<SessionId> id = target.create(description);
    if (!id) return Result<>(tl::unexpected<Error>(id.error()));
    after->id = *id;
    return Result<>();
  };
  return step;
}

std::optional<Step> append(const World& world, Random& random) {
  const SessionTruth* session = any_session(world, random);
  if (session == nullptr || session->n_token() >= kTokensMax) return std::nullopt;
  return commit_step(*session, plan_append(*session, random));
}

std::optional<Step> roll_back(const World& world, Random& random) {
  const SessionTruth* session = any_session(world, random);
  if (session == nullptr || session->n_token() == 0) return std::nullopt;
  std::uint64_t n_token = random.next() % session->n_token();
  if (session->is_recurrent()) {  // only where a snapshot stands is it possible
    for (const RecordTruth& record : session->records) {
      if (record.kind == RecordKind::snapshot && random.integer(0, 1) == 0) {
        n_token = record.first_token;
      }
    }
  }
  const std::uint64_t n_page = std::min(session->n_page, n_token / 128);
  return commit_step(*session, {.expected_commit_number = session->commit_number,
                                .kept_n_token = n_token,
                                .kept_n_page = n_page,
                                .new_tokens = {},
                                .uploads = {}});
}

/// Goes back a little and on with something else, in one commit.
std::optional<Step> regenerate(const World& world, Random& random) {
  const SessionTruth* session = any_session(world, random);
  if (session == nullptr || session->n_token() < 2 || session->is_recurrent()) return std::nullopt;
  const std::uint64_t back = 1 + random.next() % std::min<std::uint64_t>(session->n_token(), 60);
  SessionTruth shorter = *session;
  shorter.tokens.resize(session->n_token() - back);
  shorter.n_page = std::min(session->n_page, shorter.n_token() / 128);
  return commit_step(*session, plan_append(shorter, random));
}

std::optional<Step> remove(const World& world, Random& random) {
  const SessionTruth* session = any_session(world, random);
  if (session == nullptr) return std::nullopt;
  Step step{.name = session->description.name, .after = std::nullopt, .refusal = {}, .perform = {}};
  step.perform = [truth = *session](Target& target, World::State&) { return target.remove(truth); };
  return step;
}

/// Two clients of one session: the slower one must be told.
std::optional<Step> conflict(const World& world, Random& random) {
  const SessionTruth* session = any_session(world, random);
  if (session == nullptr) return std::nullopt;
  CommitPlan plan = plan_append(*session, random);
  plan.expected_commit_number += 1 + random.next() % 3;
  return commit_step(*session, std::move(plan));
}

/// A request that leaves something out or speaks of what is not there.
std::optional<Step> bad_request(const World& world, Random& random) {
  const SessionTruth* session = any_session(world, random);
  if (session == nullptr) return std::nullopt;
  CommitPlan plan = plan_append(*session, random);
  if (random.integer(0, 1) == 0) {
    plan.uploads.clear();
  } else {
    plan.kept_n_page = session->n_page + 1;
  }
  return commit_step(*session, std::move(plan));
}

std::optional<Step> abandon(const World& world, Random& random) {
  const SessionTruth* session = any_session(world, random);
  if (session == nullptr) return std::nullopt;
  Step step;
  step.perform = [truth = *session, plan = plan_append(*session, random)](
                     Target& target, World::State&) { return target.abandon(truth, plan.uploads); };
  return step;
}

std::optional<Step> reopen(const World&, Random&) {
  Step step;
  step.perform = [](Target& target, World::State&) { return target.reopen(); };
  return step;
}

constexpr std::array<Operation, 16> kOperations = {{{"create", 3, create},
                                                    {"append", 8, append},
                                                    {"roll back", 3, roll_back},
                                                    {"regenerate", 3, regenerate},
                                                    {"remove", 2, remove},
                                                    {"conflict", 1, conflict},
                                                    {"bad request", 1, bad_request},
                                                    {"abandon", 1, abandon},
                                                    {"reopen", 2, reopen},
                                                    {"fork", 4, plan_fork},
                                                    {"update", 3, plan_update},
                                                    {"match", 2, plan_match},
                                                    {"maintain", 4, plan_maintain},
                                                    {"expire", 1, plan_expire},
                                                    {"outlive", 1, plan_outlive},
                                                    {"repair", 1, plan_repair}}};

}  // namespace

CommitPlan plan_append(const SessionTruth& session, Random& random) {
  const ModelShape& shape = session.description.shape;
  CommitPlan plan{.expected_commit_number = session.commit_number,
                  .kept_n_token = session.n_token(),
                  .kept_n_page = session.n_page,
                  .new_tokens = next_tokens(session, random),
                  .uploads = {}};
  std::vector<std::uint32_t> tokens = session.tokens;
  tokens.insert(tokens.end(), plan.new_tokens.begin(), plan.new_tokens.end());
  plan.uploads.push_back(tail_upload(shape, session.n_token(), plan.new_tokens, random.next()));
  const std::uint64_t n_full = tokens.size() / 128;
  const std::uint64_t n_page =
      random.integer(0, 3) == 0 ? session.n_page : std::max(session.n_page, n_full);
  for (std::uint64_t page = session.n_page; page < n_page; ++page) {
    plan.uploads.push_back(sealed_page(shape, page, tokens, random));
  }
  if (session.is_recurrent()) {
    plan.uploads.push_back(snapshot_upload(shape, tokens.size(), random.next()));
  }
  return plan;
}

std::span<const Operation> operations() { return kOperations; }

std::pair<const Operation*, Step> next_step(const World& world, Random& random) {
  std::uint32_t total = 0;
  for (const Operation& operation : kOperations) total += operation.weight;
  for (;;) {
    const Operation* operation = &kOperations.front();
    if (!world.names().empty()) {
      std::uint32_t at = random.integer(0, total - 1);
      while (at >= operation->weight) at -= (operation++)->weight;
    }
    if (std::optional<Step> step = operation->plan(world, random)) {
      return {operation, std::move(*step)};
    }
  }
}

}  // namespace kvault::torture
