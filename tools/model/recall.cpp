#include "tools/model/recall.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numbers>

#include "core/base/assert.hpp"
#include "tools/model/hash.hpp"
#include "tools/model/matmul.hpp"
#include "tools/model/random.hpp"

namespace kvault::tools {
namespace {

using Vocabulary = RecallVocabulary;

constexpr std::size_t kDim = RecallModel::kHeadDim;
constexpr std::size_t kWidth = RecallModel::kWidth;
constexpr std::size_t kGroup = RecallModel::kHeads / RecallModel::kKvHeads;

// Channels of the residual stream.
constexpr std::size_t kWordSlot = 0;
constexpr std::size_t kPositionSlot = kDim;
constexpr std::size_t kPreviousSlot = 2 * kDim;
constexpr std::size_t kAnswerSlot = 3 * kDim;

// 1 - cosine of two members of a family. The codec's noise on a score between unit vectors has the
// deviation sqrt(mse / 128) with mse .1175, .0345, .0095 at 2, 3, 4 bits: what 4 bits tell apart
// easily, 2 bits confuse.
constexpr double kKeyFamilyGap = 0.05;
constexpr double kValueFamilyGap = 0.01;
// Inverse temperatures. The lookups must be sharp enough that 16,000 far words do not add up, and
// soft enough that noise shows in the logits before it shows in the answer.
constexpr double kPositionSharpness = 40.0;
constexpr std::array<double, RecallModel::kHeads> kWordSharpness = {90.0, 110.0, 100.0, 120.0};
constexpr float kLogitScale = 500.0F;

/// A map from one slot of the residual stream to the 128 dimensions of a head: matrix [128][128],
/// times `factor`.
struct SlotMap {
  std::size_t slot;
  std::span<const double> matrix;
  double factor;
};

/// Rows [first_row, first_row + 128) of w [..][kWidth] read the slot.
void put_reader(std::vector<float>& w, std::size_t first_row, const SlotMap& map) {
  for (std::size_t i = 0; i < kDim; ++i) {
    for (std::size_t j = 0; j < kDim; ++j) {
      w[(first_row + i) * kWidth + map.slot + j] =
          static_cast<float>(map.factor * map.matrix[i * kDim + j]);
    }
  }
}

/// The transpose: w [kWidth][kHeads * 128] writes head `head` into the slot.
void put_writer(std::vector<float>& w, std::size_t head, const SlotMap& map) {
  constexpr std::size_t kIn = RecallModel::kHeads * kDim;
  for (std::size_t i = 0; i < kDim; ++i) {
    for (std::size_t j = 0; j < kDim; ++j) {
      w[(map.slot + j) * kIn + head * kDim + i] =
          static_cast<float>(map.factor * map.matrix[i * kDim + j]);
    }
  }
}

/// a [128][128] times the matrix that turns every pair of sines back by one position.
std::vector<double> turned_back(std::span<const double> a, std::span<const double> frequencies) {
  std::vector<double> product(kDim * kDim);
  for (std::size_t i = 0; i < kDim; ++i) {
    for (std::size_t p = 0; p < frequencies.size(); ++p) {
      const double c = std::cos(frequencies[p]);
      const double s = std::sin(frequencies[p]);
      const double even = a[i * kDim + 2 * p];
      const double odd = a[i * kDim + 2 * p + 1];
      product[i * kDim + 2 * p] = even * c - odd * s;
      product[i * kDim + 2 * p + 1] = even * s + odd * c;
    }
  }
  return product;
}

/// Unit vectors of one family after the other into rows [n_word][128].
void put_families(Random& random, double gap, std::span<float> rows) {
  constexpr std::size_t kMembers = Vocabulary::kFamilySize;
  KVAULT_ASSERT(rows.size() % (kMembers * kDim) == 0);
  const double shared = std::sqrt(1.0 - gap);
  const double own = std::sqrt(gap);
  for (std::size_t first = 0; first < rows.size(); first += kMembers * kDim) {
    const std::vector<double> family = orthonormal_rows(random, 1, kDim);
    const std::vector<double> members = orthonormal_rows(random, kMembers, kDim, family);
    for (std::size_t i = 0; i < kMembers * kDim; ++i) {
      rows[first + i] = static_cast<float>(shared * family[i % kDim] + own * members[i]);
    }
  }
}

void add(std::span<const float> source, std::span<float> target) {
  KVAULT_ASSERT(source.size() == target.size());
  for (std::size_t i = 0; i < source.size(); ++i) target[i] += source[i];
}

}  // namespace

std::unique_ptr<RecallModel> RecallModel::create(std::uint64_t seed) {
  std::unique_ptr<RecallModel> model(new RecallModel());
  model->build_words(seed);
  model->build_layers(seed);
  model->build_identity();
  const kvault_layer layer{.kind = KVAULT_FULL_ATTENTION,
                           .n_head = kHeads,
                           .n_kv_head = kKvHeads,
                           .key_head_dim = kHeadDim,
                           .value_head_dim = kHeadDim,
                           .window = 0,
                           .key_scheme = KVAULT_RAW,
                           .value_scheme = KVAULT_RAW};
  model->layers_.assign(kLayers, layer);
  return model;
}

void RecallModel::build_words(std::uint64_t seed) {
  Random random(seed);
  words_.resize(std::size_t{Vocabulary::kWords} * kDim);
  const std::span<float> words = words_;
  const std::vector<double> begin = orthonormal_rows(random, 1, kDim);
  std::transform(begin.begin(), begin.end(), words.begin(),
                 [](double entry) { return static_cast<float>(entry); });
  put_families(random, kValueFamilyGap, words.subspan(kDim, Vocabulary::kValues * kDim));
  put_families(random, kKeyFamilyGap, words.subspan((1 + Vocabulary::kValues) * kDim));
}

void RecallModel::build_layers(std::uint64_t seed) {
  Random random(~seed);
  // One frequency per 64th of (0, pi): other positions, near or far, look unlike.
  for (std::size_t p = 0; p < kDim / 2; ++p) {
    const double step = std::numbers::pi / (kDim / 2);
    frequencies_.push_back((static_cast<double>(p) + random.uniform()) * step);
  }
  const double root = std::sqrt(static_cast<double>(kDim));
  for (std::size_t l = 0; l < kLayers; ++l) {
    const bool is_first = l == 0;
    Layer layer;
    layer.query.resize(kHeads * kDim * kWidth);
    layer.key.resize(kKvHeads * kDim * kWidth);
    layer.value.resize(kKvHeads * kDim * kWidth);
    layer.output.resize(kWidth * kHeads * kDim);
    for (std::size_t g = 0; g < kKvHeads; ++g) {
      const std::vector<double> match = orthonormal_rows(random, kDim, kDim);
      const std::vector<double> carry = orthonormal_rows(random, kDim, kDim);
      const std::vector<double> ask = is_first ? turned_back(match, frequencies_) : match;
      // Rows of norm sqrt(128), so that q . k / sqrt(128) = sharpness * cosine.
      put_reader(layer.key, g * kDim, {is_first ? kPositionSlot : kPreviousSlot, match, root});
      put_reader(layer.value, g * kDim, {kWordSlot, carry, root});
      for (std::size_t h = g * kGroup; h < (g + 1) * kGroup; ++h) {
        const double sharpness = is_first ? kPositionSharpness : kWordSharpness[h];
        put_reader(layer.query, h * kDim, {is_first ? kPositionSlot : kWordSlot, ask, sharpness});
        put_writer(layer.output, h,
                   {is_first ? kPreviousSlot : kAnswerSlot, carry, 1.0 / (kHeads * root)});
      }
    }
    weights_.push_back(std::move(layer));
  }
}

void RecallModel::build_identity() {
  std::uint64_t hash = hash_of(std::as_bytes(std::span(words_)));
  for (const Layer& layer : weights_) {
    for (const auto* matrix : {&layer.query, &layer.key, &layer.value, &layer.output}) {
      hash = hash * 31 + hash_of(std::as_bytes(std::span(*matrix)));
    }
  }
  identity_ = {{"model", "kvault recall 1"},
               {"weights", "xxh3:" + hex_of(hash)},
               {"vocabulary", "recall " + std::to_string(Vocabulary::kWords)}};
}

std::vector<float> RecallModel::embed(std::span<const std::uint32_t> tokens,
                                      std::uint64_t position) const {
  std::vector<float> x(tokens.size() * kWidth);
  const double root = std::sqrt(1.0 / static_cast<double>(frequencies_.size()));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const float* word = &words_[tokens[i] * kDim];
    std::copy(word, word + kDim, &x[i * kWidth + kWordSlot]);
    float* sines = &x[i * kWidth + kPositionSlot];
    const auto t = static_cast<double>(position + i);
    for (std::size_t p = 0; p < frequencies_.size(); ++p) {
      sines[2 * p] = static_cast<float>(root * std::cos(frequencies_[p] * t));
      sines[2 * p + 1] = static_cast<float>(root * std::sin(frequencies_[p] * t));
    }
  }
  return x;
}

Result<> RecallModel::forward(std::span<const std::uint32_t> tokens, AttentionPort& attention,
                              std::uint32_t n_logit, std::span<float> logits) const {
  KVAULT_CHECK(check_forward(*this, tokens, n_logit, logits));
  const std::size_t n = tokens.size();
  std::vector<float> x = embed(tokens, attention.n_token());
  std::vector<float> q(n * kHeads * kDim);
  std::vector<float> k(n * kKvHeads * kDim);
  std::vector<float> v(n * kKvHeads * kDim);
  std::vector<float> o(n * kHeads * kDim);
  std::vector<float> y(n * kWidth);
  for (std::uint32_t l = 0; l < kLayers; ++l) {
    const Layer& layer = weights_[l];
    matmul({n, kWidth, kHeads * kDim}, x, layer.query, q);
    matmul({n, kWidth, kKvHeads * kDim}, x, layer.key, k);
    matmul({n, kWidth, kKvHeads * kDim}, x, layer.value, v);
    KVAULT_CHECK(attention.append_attend(
        l, {.n_token = static_cast<std::uint32_t>(n), .q = q, .keys = k, .values = v, .out = o}));
    matmul({n, kHeads * kDim, kWidth}, o, layer.output, y);
    add(y, x);
  }
  if (n_logit == 0) return {};
  std::vector<float> answers(n_logit * kDim);
  for (std::size_t i = 0; i < n_logit; ++i) {
    const float* answer = &x[(n - n_logit + i) * kWidth + kAnswerSlot];
    std::copy(answer, answer + kDim, &answers[i * kDim]);
  }
  matmul({n_logit, kDim, Vocabulary::kWords}, answers, words_, logits);
  for (float& logit : logits) logit *= kLogitScale;
  return {};
}

}  // namespace kvault::tools
