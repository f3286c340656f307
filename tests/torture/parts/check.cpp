#include "tests/torture/parts/check.hpp"

#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "tests/torture/model/operation.hpp"

namespace kvault::torture {
namespace {

constexpr const char* kAfterwards = "afterwards";

Result<> use(StoreTarget& target, World& world) {
  SessionTruth truth;
  truth.description = small_session(kAfterwards, false);
  KVAULT_TRY(truth.id, target.create(truth.description));
  const std::vector<std::uint32_t> tokens = {1, 2, 3, 4, 5};
  CommitPlan plan{.new_tokens = tokens, .uploads = {}};
  plan.uploads.push_back(tail_upload(truth.description.shape, 0, tokens, 1));
  KVAULT_CHECK(target.commit(truth, plan));
  world.settle(kAfterwards, predict(truth, plan).after);
  return {};
}

/// Every session is stated anew, so that nothing older may come back.
Result<> touch_all(StoreTarget& target, World& world) {
  for (const std::string& name : world.names()) {
    SessionTruth truth = *world.find(name);
    truth.attributes.labels = {"touched"};
    KVAULT_CHECK(target.update(truth, {.labels = truth.attributes.labels}));
    world.settle(name, truth);
  }
  return {};
}

/// How often a reader asks anew where the records are.
constexpr int kAttemptsMax = 8;

bool is_pack_gone(const std::vector<ServedSession>& served) {
  for (const ServedSession& session : served) {
    for (const ServedRecord& record : session.records) {
      std::error_code ignored;
      if (!std::filesystem::exists(record.pack_path, ignored)) return true;
    }
  }
  return false;
}

}  // namespace

void require(const Result<>& result, const std::string& what) {
  if (!result) throw std::runtime_error(message(what, ": ", result.error().message));
}

Verdict broken(const std::string& what, const Error& error) {
  return {.n_lost = 1,
          .n_wrong = 0,
          .sentences = {message(what, ": ", name_of(error.code), ": ", error.message)}};
}

Verdict check_served(Target& target, World& world, std::vector<ServedSession>& out_served) {
  for (int attempt = 1;; ++attempt) {
    Result<std::vector<ServedSession>> served = target.served();
    if (!served) return broken("serving", served.error());
    Verdict verdict = world.check(*served);
    out_served = std::move(*served);
    const bool has_moved = !verdict.is_clean() && is_pack_gone(out_served);
    if (!has_moved || attempt == kAttemptsMax) return verdict;
  }
}

Verdict check_target(Target& target, World& world) {
  std::vector<ServedSession> served;
  Verdict verdict = check_served(target, world, served);
  if (!verdict.is_clean()) return verdict;
  world.settle_as(served);
  const Result<std::vector<std::string>> damage = target.verify();
  if (!damage) return broken("verify", damage.error());
  for (const std::string& sentence : *damage) {
    ++verdict.n_lost;
    verdict.sentences.push_back("verify finds " + sentence);
  }
  return verdict;
}

Verdict check_store(StoreTarget& target, World& world) {
  if (const Result<> opened = target.reopen(); !opened) return broken("open", opened.error());
  const World before = world;
  Verdict verdict = check_target(target, world);
  if (!verdict.is_clean()) return verdict;
  if (const Result<> used = use(target, world); !used) return broken("use", used.error());
  if (const Result<> again = target.reopen(); !again) return broken("reopen", again.error());
  verdict = check_target(target, world);
  if (!verdict.is_clean()) return verdict;
  if (const Result<> done = touch_all(target, world); !done) return broken("touch", done.error());
  world.doubt_missing_again(before);
  if (const Result<> again = target.reopen_without_catalog(); !again) {
    return broken("rebuild", again.error());
  }
  return check_target(target, world);
}

}  // namespace kvault::torture
