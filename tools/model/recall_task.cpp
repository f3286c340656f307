#include "tools/model/recall_task.hpp"

#include <algorithm>
#include <numeric>
#include <span>

#include "core/base/assert.hpp"
#include "tools/model/random.hpp"
#include "tools/model/recall.hpp"

namespace kvault::tools {
namespace {

using Vocabulary = RecallVocabulary;

/// Keys within a stretch of this many are shuffled: 32 whole families.
constexpr std::size_t kStretch = 256;

struct Pair {
  std::uint32_t key;
  std::uint32_t value;
};

/// All keys, families in random order and members of 32 families mixed.
std::vector<std::uint32_t> shuffled_keys(Random& random) {
  std::vector<std::uint32_t> families(Vocabulary::kKeys / Vocabulary::kFamilySize);
  std::iota(families.begin(), families.end(), 0U);
  random.shuffle(std::span(families));
  std::vector<std::uint32_t> keys;
  for (const std::uint32_t family : families) {
    for (std::uint32_t member = 0; member < Vocabulary::kFamilySize; ++member) {
      keys.push_back(Vocabulary::key_word(family * Vocabulary::kFamilySize + member));
    }
  }
  for (std::size_t first = 0; first < keys.size(); first += kStretch) {
    random.shuffle(std::span(keys).subspan(first, kStretch));
  }
  return keys;
}

/// Adds up to n_question look-ups of pairs told and not asked yet, which leave `unasked`.
void add_questions(Random& random, std::size_t n_question, std::vector<Pair>& unasked, Turn& turn) {
  for (std::size_t i = 0; i < n_question && !unasked.empty(); ++i) {
    const std::size_t at = random.below(unasked.size());
    turn.questions.push_back({.prompt = {unasked[at].key}, .answer = unasked[at].value});
    unasked.erase(unasked.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

Result<> check(const RecallTaskOptions& options) {
  if (options.n_token < 64 || options.n_token % 2 != 0) {
    return fail(Errc::invalid_argument,
                message("a recall chat of ", options.n_token, " tokens; even and >= 64, please"));
  }
  if (options.n_context < 16 || options.n_context % 2 != 0) {
    return fail(Errc::invalid_argument, message("turns of ", options.n_context, " tokens"));
  }
  const std::uint64_t n_turn = options.n_token / (options.n_context + 2 * options.n_question) + 1;
  if (options.n_token / 2 > Vocabulary::kKeys + n_turn * options.n_question) {
    return fail(Errc::limit_exceeded, message(options.n_token, " tokens take more than the ",
                                              Vocabulary::kKeys, " keys there are"));
  }
  return {};
}

}  // namespace

Result<std::vector<Turn>> make_recall_turns(const RecallTaskOptions& options) {
  KVAULT_CHECK(check(options));
  Random random(options.seed);
  const std::vector<std::uint32_t> keys = shuffled_keys(random);
  std::vector<Pair> unasked;
  std::vector<Turn> turns;
  std::size_t n_told = 0;
  std::uint64_t left = options.n_token;
  while (left > 0) {
    Turn turn;
    const std::uint64_t n_asked = 2 * std::uint64_t{options.n_question};
    std::uint64_t n_context = options.n_context;
    if (left < n_context + 2 * n_asked) n_context = left > n_asked ? left - n_asked : left;
    // Two words in front, so that nobody's previous word is missing and all lengths are even.
    if (turns.empty()) turn.context = {Vocabulary::kBegin, Vocabulary::kBegin};
    while (turn.context.size() < n_context) {
      if (n_told == keys.size()) return fail(Errc::limit_exceeded, "no keys are left");
      const auto value = static_cast<std::uint32_t>(random.below(Vocabulary::kValues));
      const Pair pair{keys[n_told++], Vocabulary::value_word(value)};
      turn.context.insert(turn.context.end(), {pair.key, pair.value});
      unasked.push_back(pair);
    }
    add_questions(random, (left - n_context) / 2 < options.n_question ? 0 : options.n_question,
                  unasked, turn);
    KVAULT_ASSERT(turn.n_token() <= left);
    left -= turn.n_token();
    turns.push_back(std::move(turn));
  }
  return turns;
}

}  // namespace kvault::tools
