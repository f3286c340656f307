#include "tools/eval/evaluation.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <mutex>
#include <optional>
#include <thread>

#include "core/base/assert.hpp"
#include "core/layout/scheme.hpp"

namespace kvault::eval {
namespace {

using Model = tools::FinewebModel;
constexpr std::size_t kVocab = Model::kVocab;
constexpr std::size_t kLeastDistance = 128;

/// Tokens to run over, and those that follow them.
struct Sequence {
  std::vector<std::uint32_t> tokens;
  std::vector<std::uint32_t> targets;
};

Sequence plain_sequence(const EvalSetup& setup, std::size_t s) {
  const auto first = setup.text.begin() + static_cast<std::ptrdiff_t>(s * setup.n_context);
  const auto n = static_cast<std::ptrdiff_t>(setup.n_context);
  return {.tokens = {first, first + n}, .targets = {first + 1, first + n + 1}};
}

std::vector<std::size_t> distances_of(const EvalSetup& setup) {
  std::vector<std::size_t> distances;
  if (setup.n_recall == 0) return distances;
  for (std::size_t d = kLeastDistance; 2 * d <= setup.n_context; d *= 2) distances.push_back(d);
  return distances;
}

/// `distance` tokens twice. Scored: what the second half says next, but for its last token.
Sequence doubled_sequence(const EvalSetup& setup, std::size_t distance, std::size_t s) {
  const auto first = setup.text.begin() + static_cast<std::ptrdiff_t>(s * distance);
  Sequence sequence;
  for (int half = 0; half < 2; ++half) {
    sequence.tokens.insert(sequence.tokens.end(), first,
                           first + static_cast<std::ptrdiff_t>(distance));
  }
  sequence.targets.assign(sequence.tokens.begin() + 1, sequence.tokens.end());
  sequence.targets.push_back(sequence.tokens.front());
  return sequence;
}

/// All sequences of a run: plain ones, then doubled ones by distance.
std::vector<Sequence> sequences_of(const EvalSetup& setup) {
  std::vector<Sequence> sequences;
  for (std::size_t s = 0; s < setup.n_sequence; ++s) sequences.push_back(plain_sequence(setup, s));
  for (const std::size_t distance : distances_of(setup)) {
    for (std::size_t s = 0; s < setup.n_recall; ++s) {
      sequences.push_back(doubled_sequence(setup, distance, s));
    }
  }
  return sequences;
}

Result<> check(const EvalSetup& setup) {
  const std::size_t wanted =
      std::max(setup.n_sequence, (setup.n_recall + 1) / 2) * setup.n_context + 1;
  if (setup.text.size() < wanted) {
    return fail(Errc::limit_exceeded, message(setup.n_sequence, " sequences of ", setup.n_context,
                                              " tokens in a text of ", setup.text.size()));
  }
  if (setup.n_sequence == 0 || setup.first_scored >= setup.n_context) {
    return fail(Errc::invalid_argument,
                message(setup.n_sequence, " sequences of ", setup.n_context,
                        " tokens, scored from position ", setup.first_scored, " on"));
  }
  return {};
}

/// work(i) for all i below n on n_thread threads; the first failure by number.
Result<> for_each_of(std::size_t n, std::uint32_t n_thread, const OnSequence& on_done,
                     const std::function<Result<>(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::size_t n_done = 0;
  std::vector<std::optional<Error>> errors(n);
  const auto run = [&] {
    for (std::size_t i = next++; i < n; i = next++) {
      const Result<> result = work(i);
      if (!result) errors[i] = result.error();
      const std::lock_guard lock(mutex);
      ++n_done;
      if (on_done) on_done(n_done);
    }
  };
  std::vector<std::thread> threads;
  for (std::uint32_t t = 1; t < n_thread; ++t) threads.emplace_back(run);
  run();
  for (std::thread& thread : threads) thread.join();
  for (const std::optional<Error>& error : errors) {
    if (error) return tl::unexpected<Error>(*error);
  }
  return {};
}

std::uint32_t likeliest(std::span<const float> logits) {
  return static_cast<std::uint32_t>(std::max_element(logits.begin(), logits.end()) -
                                    logits.begin());
}

std::span<const float> row_of(const std::vector<float>& logits, std::size_t t) {
  return std::span(logits).subspan(t * kVocab, kVocab);
}

/// Scores of the second half of a doubled text.
Recall recall_of(const Sequence& sequence, const std::vector<float>& logits) {
  Recall recall{.distance = sequence.tokens.size() / 2, .right = {}, .nll = 0};
  for (std::size_t t = recall.distance; t + 1 < sequence.tokens.size(); ++t) {
    const std::span<const float> row = row_of(logits, t);
    recall.right.push_back(likeliest(row) == sequence.targets[t] ? 1 : 0);
    recall.nll += tools::nll_of(row, sequence.targets[t]);
  }
  recall.nll /= static_cast<double>(std::max<std::size_t>(recall.right.size(), 1));
  return recall;
}

/// Those of one distance together.
std::vector<Recall> join(const std::vector<Recall>& parts) {
  std::vector<Recall> joined;
  for (const Recall& part : parts) {
    if (joined.empty() || joined.back().distance != part.distance) {
      joined.push_back({.distance = part.distance, .right = {}, .nll = 0});
    }
    Recall& whole = joined.back();
    const auto n_old = static_cast<double>(whole.right.size());
    const auto n_new = static_cast<double>(part.right.size());
    whole.nll = (whole.nll * n_old + part.nll * n_new) / (n_old + n_new);
    whole.right.insert(whole.right.end(), part.right.begin(), part.right.end());
  }
  return joined;
}

Result<std::vector<float>> logits_of(const EvalSetup& setup, const Sequence& sequence,
                                     LabAttention& attention) {
  std::vector<float> logits(sequence.tokens.size() * kVocab);
  KVAULT_CHECK(setup.model->forward(sequence.tokens, attention,
                                    static_cast<std::uint32_t>(sequence.tokens.size()), logits));
  return logits;
}

double side_bits(const SideCodec* codec, double share, double n_token, std::uint32_t head_dim) {
  if (codec == nullptr) return kRawBits;
  return share * codec->bits_per_element(head_dim) + (1 - share) * kRawBits +
         codec->session_bits(head_dim) / (n_token * head_dim);
}

}  // namespace

std::size_t n_forward_of(const EvalSetup& setup) {
  return setup.n_sequence + distances_of(setup).size() * setup.n_recall;
}

Result<Reference> run_reference(const EvalSetup& setup) {
  KVAULT_CHECK(check(setup));
  const std::vector<Sequence> sequences = sequences_of(setup);
  std::vector<std::vector<float>> logits(sequences.size());
  KVAULT_CHECK(for_each_of(sequences.size(), setup.n_thread, {}, [&](std::size_t i) -> Result<> {
    LabAttentionOptions options;
    options.stress = setup.stress;
    LabAttention attention(setup.model->layers(), options);
    KVAULT_TRY(logits[i], logits_of(setup, sequences[i], attention));
    return {};
  }));
  Reference reference;
  std::vector<Recall> recall;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    if (i >= setup.n_sequence) {
      recall.push_back(recall_of(sequences[i], logits[i]));
      continue;
    }
    for (std::size_t t = setup.first_scored; t < setup.n_context; ++t) {
      reference.nll.push_back(tools::nll_of(row_of(logits[i], t), sequences[i].targets[t]));
    }
    reference.logits.push_back(std::move(logits[i]));
  }
  reference.recall = join(recall);
  return reference;
}

Result<EvalScores> run_scheme(const EvalSetup& setup, const Reference& reference,
                              const LabScheme& scheme, Mode mode, const OnSequence& on_sequence) {
  KVAULT_CHECK(check(setup));
  const std::vector<Sequence> sequences = sequences_of(setup);
  std::vector<EvalScores> parts(sequences.size());
  const auto run_one = [&](std::size_t i) -> Result<> {
    LabAttentionOptions options;
    options.scheme = &scheme;
    options.mode = mode;
    options.stress = setup.stress;
    options.profile = setup.profile;
    options.measures_errors = i == 0;
    options.first_scored = static_cast<std::uint32_t>(setup.first_scored);
    LabAttention attention(setup.model->layers(), options);
    KVAULT_TRY(const std::vector<float> logits, logits_of(setup, sequences[i], attention));
    EvalScores& part = parts[i];
    part.head_errors = attention.errors();
    if (i >= setup.n_sequence) {
      part.recall.push_back(recall_of(sequences[i], logits));
      return {};
    }
    for (std::size_t t = setup.first_scored; t < setup.n_context; ++t) {
      const std::span<const float> coded = row_of(logits, t);
      const std::span<const float> raw = row_of(reference.logits[i], t);
      part.nll.push_back(tools::nll_of(coded, sequences[i].targets[t]));
      part.kl.push_back(tools::kl_divergence(raw, coded));
      part.agree.push_back(likeliest(coded) == likeliest(raw) ? 1 : 0);
    }
    return {};
  };
  KVAULT_CHECK(for_each_of(sequences.size(), setup.n_thread, on_sequence, run_one));
  EvalScores scores;
  std::vector<Recall> recall;
  for (EvalScores& part : parts) {
    scores.nll.insert(scores.nll.end(), part.nll.begin(), part.nll.end());
    scores.kl.insert(scores.kl.end(), part.kl.begin(), part.kl.end());
    scores.agree.insert(scores.agree.end(), part.agree.begin(), part.agree.end());
    recall.insert(recall.end(), part.recall.begin(), part.recall.end());
    if (!part.head_errors.empty()) scores.head_errors = std::move(part.head_errors);
  }
  scores.recall = join(recall);
  const auto n_layer = static_cast<std::uint32_t>(setup.model->layers().size());
  const std::uint32_t dim = setup.model->layers().front().key_head_dim;
  scores.bits_per_element = all_in_bits(scheme, mode, setup.n_context, dim, n_layer);
  scores.bits_per_element_32k = all_in_bits(scheme, mode, 32768, dim, n_layer);
  return scores;
}

double all_in_bits(const LabScheme& scheme, Mode mode, std::uint64_t n_token,
                   std::uint32_t head_dim, std::uint32_t n_layer) {
  KVAULT_ASSERT(n_token > 0 && n_layer > 0);
  std::uint64_t n_coded = n_token;
  if (mode == Mode::live) {
    const std::uint64_t n_full = n_token / kPageTokens;
    const std::uint64_t n_kept = std::max<std::uint64_t>(scheme.live.n_tail_page, 1) - 1;
    const std::uint64_t n_sealed = n_full > n_kept ? (n_full - n_kept) * kPageTokens : 0;
    n_coded = n_sealed - std::min<std::uint64_t>(n_sealed, scheme.live.n_sink);
  }
  const double n = static_cast<double>(n_token);
  const double share = static_cast<double>(n_coded) / n;
  const double coded = (side_bits(scheme.key.get(), share, n, head_dim) +
                        side_bits(scheme.value.get(), share, n, head_dim)) /
                       2;
  const double edge = std::min(1.0, 2.0 * scheme.n_edge_layer / n_layer);
  return edge * kRawBits + (1 - edge) * coded;
}

std::vector<double> by_page_position(const EvalSetup& setup, std::span<const double> values) {
  constexpr std::size_t kBins = 16;
  std::vector<double> sums(kBins);
  std::vector<double> counts(kBins);
  const std::size_t n = setup.n_context - setup.first_scored;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t position = setup.first_scored + i % n;
    const std::size_t bin = position % kPageTokens * kBins / kPageTokens;
    sums[bin] += values[i];
    counts[bin] += 1;
  }
  for (std::size_t b = 0; b < kBins; ++b) sums[b] = counts[b] > 0 ? sums[b] / counts[b] : 0;
  return sums;
}

}  // namespace kvault::eval
