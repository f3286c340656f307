#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "tools/model/chat.hpp"
#include "tools/model/plain_attention.hpp"
#include "tools/model/random.hpp"
#include "tools/model/recall.hpp"
#include "tools/model/recall_task.hpp"
#include "tools/model/scores.hpp"

namespace kvault::tools {
namespace {

using Vocabulary = RecallVocabulary;

/// Plain attention whose second layer's rows carry noise of this relative variance: a codec's.
class NoisyAttention final : public AttentionPort {
 public:
  NoisyAttention(std::span<const kvault_layer> layers, double variance)
      : plain_(layers), deviation_(std::sqrt(variance)) {}

  std::uint64_t n_token() const override { return plain_.n_token(); }
  Result<> append_attend(std::uint32_t layer, const AttentionStep& step) override {
    if (layer == 0 || deviation_ == 0) return plain_.append_attend(layer, step);
    const std::vector<float> keys = with_noise(step.keys);
    const std::vector<float> values = with_noise(step.values);
    AttentionStep noisy = step;
    noisy.keys = keys;
    noisy.values = values;
    return plain_.append_attend(layer, noisy);
  }

 private:
  /// Rows have a mean square of 1 per element.
  std::vector<float> with_noise(std::span<const float> rows) {
    std::vector<float> out(rows.begin(), rows.end());
    for (float& entry : out) entry += static_cast<float>(deviation_ * random_.normal());
    return out;
  }

  PlainAttention plain_;
  Random random_{7};
  double deviation_;
};

RecallScore recall_with(double variance, std::uint64_t n_token) {
  const std::unique_ptr<RecallModel> model = RecallModel::create();
  const auto turns = make_recall_turns({.n_token = n_token, .n_question = 32});
  REQUIRE(turns);
  NoisyAttention attention(model->layers(), variance);
  RecallScore score;
  for (const Turn& turn : *turns) {
    std::vector<std::uint32_t> answers;
    for (const Question& question : turn.questions) answers.push_back(*question.answer);
    const auto on_reply = [&score](const Reply& reply) -> Result<> {
      score.add(reply.likeliest == *reply.answer);
      return {};
    };
    REQUIRE(run_turn(*model, attention, turn, {.forced = answers, .on_reply = on_reply}));
  }
  return score;
}

TEST_CASE("recall model: it remembers exactly, and noise of two bits makes it forget") {
  const RecallScore exact = recall_with(0.0, 1152);
  CHECK(exact.n_asked == 64);
  CHECK(exact.share() == 1.0);
  CHECK(recall_with(0.0095, 1152).share() == 1.0);
  const double two_bits = recall_with(0.1175, 1152).share();
  CHECK(two_bits < 0.9);
  CHECK(two_bits > 0.3);
}

TEST_CASE("recall model: the same seed gives the same weights, another one others") {
  const auto first = RecallModel::create(3);
  const auto second = RecallModel::create(3);
  const auto other = RecallModel::create(4);
  const auto weights = [](const Model& model) { return model.identity()[1].value; };
  CHECK(weights(*first) == weights(*second));
  CHECK(weights(*first) != weights(*other));
}

TEST_CASE("recall model: wrong tokens and sizes are refused") {
  const auto model = RecallModel::create();
  PlainAttention attention(model->layers());
  const std::vector<std::uint32_t> tokens = {1, Vocabulary::kWords};
  std::vector<float> logits(Vocabulary::kWords);
  const auto code = [&](std::span<const std::uint32_t> words, std::uint32_t n_logit) {
    return model->forward(words, attention, n_logit, logits).error().code;
  };
  CHECK(code(tokens, 1) == Errc::out_of_range);
  CHECK(code(std::span(tokens).first(1), 2) == Errc::invalid_argument);
  CHECK(code(std::span(tokens).first(1), 0) == Errc::shape_mismatch);
  CHECK(code({}, 0) == Errc::invalid_argument);
  CHECK(attention.n_token() == 0);
}

TEST_CASE("recall task: turns add up, and no key is told or asked twice") {
  for (const std::uint64_t n_token : {64U, 2048U, 8192U, 32768U}) {
    const auto turns = make_recall_turns({.n_token = n_token});
    REQUIRE(turns);
    std::uint64_t total = 0;
    std::set<std::uint32_t> told;
    std::set<std::uint32_t> asked;
    for (const Turn& turn : *turns) {
      total += turn.n_token();
      for (const std::uint32_t word : turn.context) {
        if (word >= Vocabulary::key_word(0)) CHECK(told.insert(word).second);
      }
      for (const Question& question : turn.questions) {
        CHECK(told.contains(question.prompt.front()));
        CHECK(asked.insert(question.prompt.front()).second);
      }
    }
    CHECK(total == n_token);
    if (n_token >= 2048) CHECK(told.size() >= 900);
    if (n_token >= 8192) CHECK(asked.size() >= 100);
  }
}

TEST_CASE("recall task: more tokens than there are keys are refused") {
  CHECK(make_recall_turns({.n_token = 1U << 20U}).error().code == Errc::limit_exceeded);
  CHECK(make_recall_turns({.n_token = 63}).error().code == Errc::invalid_argument);
  CHECK(make_recall_turns({.n_context = 3}).error().code == Errc::invalid_argument);
}

TEST_CASE("chat: a turn's tokens and replies do not depend on how it is cut") {
  const auto model = RecallModel::create();
  const auto turns = make_recall_turns({.n_token = 256, .n_context = 128});
  REQUIRE(turns);
  std::vector<std::vector<std::uint32_t>> outcomes;
  for (const std::uint32_t chunk : {1U, 7U, 128U}) {
    PlainAttention attention(model->layers());
    std::vector<std::uint32_t> all;
    std::uint64_t n_progress = 0;
    for (const Turn& turn : *turns) {
      const auto on_progress = [&n_progress](std::uint64_t n_token) -> Result<> {
        CHECK(n_token > n_progress);
        n_progress = n_token;
        return {};
      };
      const auto tokens =
          run_turn(*model, attention, turn, {.chunk = chunk, .on_progress = on_progress});
      REQUIRE(tokens);
      all.insert(all.end(), tokens->begin(), tokens->end());
    }
    CHECK(n_progress == 256);
    outcomes.push_back(all);
  }
  CHECK(outcomes[0] == outcomes[1]);
  CHECK(outcomes[0] == outcomes[2]);
}

TEST_CASE("chat: a failing callback ends the turn with its error") {
  const auto model = RecallModel::create();
  PlainAttention attention(model->layers());
  const Turn turn{.context = {0, 1, 2}, .questions = {{.prompt = {3}, .answer = {}}}};
  const auto refuse = [](const Reply&) -> Result<> { return fail(Errc::cancelled, "enough"); };
  CHECK(run_turn(*model, attention, turn, {.on_reply = refuse}).error().code == Errc::cancelled);
  const std::vector<std::uint32_t> forced = {1, 2};
  CHECK(run_turn(*model, attention, turn, {.forced = forced}).error().code == Errc::shape_mismatch);
}

}  // namespace
}  // namespace kvault::tools
