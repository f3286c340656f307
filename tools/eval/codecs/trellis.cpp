#include "tools/eval/codecs/trellis.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

#include "core/base/assert.hpp"
#include "tools/eval/gaussian.hpp"
#include "tools/model/random.hpp"

namespace kvault::eval {
namespace {

constexpr std::size_t kTrainNumbers = 1U << 16U;
constexpr std::size_t kTrainStretch = 4096;
constexpr int kTrainRounds = 12;
constexpr std::uint64_t kTrainSeed = 20;
constexpr float kLevelCentre = 63.5F;

constexpr std::size_t kStates = Trellis::kStates;
constexpr std::size_t kHalf = kStates / 2;
constexpr unsigned kLowPolynomial = 0362;   // of the coset's lower bit
constexpr unsigned kHighPolynomial = 0515;  // of its higher one; both ends of it are ones

/// The coset that nine coset bits choose, the newest lowest.
constexpr unsigned coset_of(unsigned window) {
  const auto parity = [window](unsigned polynomial) {
    return static_cast<unsigned>(std::popcount(window & polynomial)) & 1U;
  };
  return parity(kLowPolynomial) | parity(kHighPolynomial) << 1U;
}

/// Four floats at a time, which every processor has.
using Quad = float __attribute__((vector_size(16)));

Quad load(const float* from) {
  Quad quad;
  __builtin_memcpy(&quad, from, sizeof(quad));
  return quad;
}

void store(Quad quad, float* to) { __builtin_memcpy(to, &quad, sizeof(quad)); }

/// Squares of what x misses the nearest value of each coset by, and which value of it that is.
struct Nearest {
  std::array<float, 4> miss;
  std::array<std::uint8_t, 4> choice;
};

Nearest nearest_of(float x, std::span<const float> alphabet) {
  Nearest nearest;
  nearest.miss.fill(1e30F);
  nearest.choice.fill(0);
  for (std::size_t i = 0; i < alphabet.size(); ++i) {
    const float miss = (x - alphabet[i]) * (x - alphabet[i]);
    if (miss < nearest.miss[i % 4]) {
      nearest.miss[i % 4] = miss;
      nearest.choice[i % 4] = static_cast<std::uint8_t>(i / 4);
    }
  }
  return nearest;
}

/// What the seven coset bits in the middle of a window choose where both ends are zero, [kHalf];
/// either end turns the higher bit over.
std::array<std::uint8_t, kHalf> middle_cosets() {
  std::array<std::uint8_t, kHalf> cosets;
  for (unsigned j = 0; j < kHalf; ++j) cosets[j] = static_cast<std::uint8_t>(coset_of(j << 1U));
  return cosets;
}

/// The Viterbi algorithm over a run of numbers.
class Search {
 public:
  explicit Search(std::size_t n) : costs_((n + 1) * kStates), middle_(middle_cosets()) {
    std::fill_n(costs_.begin() + 1, kStates - 1, 1e30F);
  }

  void step(std::size_t i, const Nearest& nearest) {
    float* const before = costs_.data() + i * kStates;
    float* const after = before + kStates;
    if (i % kRebase == 0) rebase(before);
    std::array<float, kHalf> near;
    std::array<float, kHalf> far;
    for (std::size_t j = 0; j < kHalf; ++j) {
      near[j] = nearest.miss[middle_[j]];
      far[j] = nearest.miss[middle_[j] ^ 2U];
    }
    for (std::size_t j = 0; j < kHalf; j += 4) {
      const Quad old_zero = load(before + j);
      const Quad old_one = load(before + kHalf + j);
      const Quad a = load(near.data() + j);
      const Quad b = load(far.data() + j);
      const Quad stay = old_zero + a;
      const Quad turn = old_one + b;
      const Quad other_stay = old_zero + b;
      const Quad other_turn = old_one + a;
      const Quad zero = stay < turn ? stay : turn;
      const Quad one = other_stay < other_turn ? other_stay : other_turn;
      store(__builtin_shufflevector(zero, one, 0, 4, 1, 5), after + 2 * j);
      store(__builtin_shufflevector(zero, one, 2, 6, 3, 7), after + 2 * j + 4);
    }
  }
  void skip(std::size_t i) {
    std::copy_n(costs_.begin() + static_cast<std::ptrdiff_t>(i * kStates), kStates,
                costs_.begin() + static_cast<std::ptrdiff_t>((i + 1) * kStates));
  }

  unsigned best_end(std::size_t n) const {
    const float* const last = costs_.data() + n * kStates;
    return static_cast<unsigned>(std::min_element(last, last + kStates) - last);
  }
  /// The window of nine coset bits that led to `state` at number i.
  unsigned window_into(std::size_t i, unsigned state, const Nearest& nearest) const {
    const float* const before = costs_.data() + i * kStates;
    const unsigned one = state | static_cast<unsigned>(kStates);
    const float cost_zero = before[state >> 1U] + nearest.miss[coset_of(state)];
    const float cost_one = before[one >> 1U] + nearest.miss[coset_of(one)];
    return cost_zero <= cost_one ? state : one;
  }

 private:
  static constexpr std::size_t kRebase = 64;

  /// Takes the least cost from all, so that they keep their digits.
  static void rebase(float* costs) {
    const float least = *std::min_element(costs, costs + kStates);
    for (std::size_t s = 0; s < kStates; ++s) costs[s] -= least;
  }

  std::vector<float> costs_;  ///< [n + 1][kStates]
  std::array<std::uint8_t, kHalf> middle_;
};

}  // namespace

Trellis::Trellis(std::span<const std::uint32_t> bits) {
  for (const std::uint32_t b : bits) {
    KVAULT_ASSERT(b >= 1 && b <= kBitsMax);
    if (!alphabets_[b].empty()) continue;
    start_alphabet(b);
    train_alphabet(b);
    snap_alphabet(b);
  }
}

void Trellis::start_alphabet(std::uint32_t bits) {
  for (const double value : lloyd_max(bits + 1).values) {
    alphabets_[bits].push_back(static_cast<float>(value));
  }
}

/// Lloyd's rounds: every value becomes the mean of the numbers that took it.
void Trellis::train_alphabet(std::uint32_t bits) {
  tools::Random random(kTrainSeed * 1000 + bits);
  std::vector<float> numbers(kTrainNumbers);
  for (float& number : numbers) number = static_cast<float>(random.normal());
  const std::uint8_t each[] = {static_cast<std::uint8_t>(bits)};
  const float same[] = {1};
  std::vector<float>& alphabet = alphabets_[bits];
  std::vector<std::uint8_t> codes(kTrainStretch);
  std::vector<float> values(kTrainStretch);
  for (int round = 0; round < kTrainRounds; ++round) {
    std::vector<double> sums(alphabet.size());
    std::vector<double> counts(alphabet.size());
    for (std::size_t first = 0; first < numbers.size(); first += kTrainStretch) {
      const std::span<const float> part = std::span(numbers).subspan(first, kTrainStretch);
      encode(part, each, same, codes);
      decode(codes, each, values);
      for (std::size_t i = 0; i < part.size(); ++i) {
        const auto place = static_cast<std::size_t>(
            std::lower_bound(alphabet.begin(), alphabet.end(), values[i]) - alphabet.begin());
        sums[place] += double{part[i]};
        counts[place] += 1;
      }
    }
    for (std::size_t i = 0; i < alphabet.size(); ++i) {
      if (counts[i] > 0) alphabet[i] = static_cast<float>(sums[i] / counts[i]);
    }
    std::sort(alphabet.begin(), alphabet.end());
  }
}

void Trellis::snap_alphabet(std::uint32_t bits) {
  float highest = 0;
  for (const float value : alphabets_[bits]) highest = std::max(highest, std::abs(value));
  const float step = highest / kLevelCentre;
  for (float& value : alphabets_[bits]) {
    const float level = std::clamp(std::round(value / step + kLevelCentre), 0.0F, 127.0F);
    value = (level - kLevelCentre) * step;
  }
}

void Trellis::encode(std::span<const float> x, std::span<const std::uint8_t> bits,
                     std::span<const float> weights, std::span<std::uint8_t> codes) const {
  KVAULT_ASSERT(x.size() == codes.size() && !bits.empty() && !weights.empty());
  Search search(x.size());
  std::vector<Nearest> nearest(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::uint32_t b = bits[i % bits.size()];
    if (b == 0) {
      search.skip(i);
      continue;
    }
    KVAULT_ASSERT(b <= kBitsMax && !alphabets_[b].empty());
    nearest[i] = nearest_of(x[i], alphabets_[b]);
    for (float& miss : nearest[i].miss) miss *= weights[i % weights.size()];
    search.step(i, nearest[i]);
  }
  unsigned state = search.best_end(x.size());
  for (std::size_t i = x.size(); i-- > 0;) {
    codes[i] = 0;
    if (bits[i % bits.size()] == 0) continue;
    const unsigned window = search.window_into(i, state, nearest[i]);
    const unsigned choice = nearest[i].choice[coset_of(window)];
    codes[i] = static_cast<std::uint8_t>(choice << 1U | (window & 1U));
    state = window >> 1U;
  }
}

void Trellis::decode(std::span<const std::uint8_t> codes, std::span<const std::uint8_t> bits,
                     std::span<float> values) const {
  KVAULT_ASSERT(codes.size() == values.size() && !bits.empty());
  unsigned window = 0;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const std::uint32_t b = bits[i % bits.size()];
    values[i] = 0;
    if (b == 0) continue;
    window = (window << 1U | (codes[i] & 1U)) & (2U * kStates - 1U);
    values[i] = alphabets_[b][std::size_t{codes[i]} / 2 * 4 + coset_of(window)];
  }
}

}  // namespace kvault::eval
