#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/cpu/aligned_array.hpp"
#include "core/cpu/attend_kernels.hpp"

namespace kvault::cpu {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr std::size_t kRow = 7;  // a group of rows and what it leaves, on every instruction set

/// One call's memory.
struct Softmax {
  AttendKernels kernels;
  AlignedArray<float> logits{kRow * kPageTokens};
  AlignedArray<float> token_factor{kPageTokens};
  AlignedArray<std::uint32_t> weights{kRow * 2 * 64};
  AlignedArray<float> rescale{kRow};
  AlignedArray<float> mass{kRow};
  AlignedArray<float> factor{kRow};
  AlignedArray<SoftmaxState> states{kRow};

  explicit Softmax(InstructionSet set) : kernels(attend_kernels(set)) {
    std::fill_n(states.data(), kRow, SoftmaxState{kNone, 0.0F});
  }
  void run() {
    kernels.page_softmax({logits.data(),
                          states.data(),
                          rescale.data(),
                          mass.data(),
                          kRow,
                          token_factor.data(),
                          weights.data(),
                          factor.data(),
                          {}});
  }
  /// As the dot products read it.
  std::uint32_t weight(std::size_t row, std::size_t token) const {
    const std::size_t plane = weight_cells(kernels.form);
    const std::uint32_t* const cells = weights.data() + row * n_plane(kernels.form) * plane;
    if (kernels.form == CellForm::bytes) {
      const std::uint32_t shift = token % 4 * 8;
      const std::uint32_t high = cells[token / 4] >> shift & 0xFFU;
      return high * 256 + (cells[plane + token / 4] >> shift & 0xFFU);
    }
    // Tokens 0 and 2, then 1 and 3, of every four.
    return cells[token / 4 * 2 + token % 2] >> (token % 4 / 2 * 16) & 0xFFFFU;
  }
};

/// Greatest |factor * weight - p * token_factor| of a row, as a part of the greatest of them.
double weight_error(const Softmax& softmax, const std::vector<float>& logits, std::size_t row) {
  const float* const s = logits.data() + row * kPageTokens;
  double peak = 0;
  double error = 0;
  for (std::size_t t = 0; t < kPageTokens; ++t) {
    const double p = std::exp(static_cast<double>(s[t]) - softmax.states.data()[row].maximum);
    const double exact = p * softmax.token_factor.data()[t];
    const double got = static_cast<double>(softmax.factor.data()[row]) * softmax.weight(row, t);
    peak = std::max(peak, exact);
    error = std::max(error, std::abs(got - exact));
  }
  return error / peak;
}

template <class Check>
void for_instruction_sets(const Check& check) {
  for (const InstructionSet set : compiled_instruction_sets()) {
    if (!is_supported(set)) continue;
    CAPTURE(name_of(set));
    check(set);
  }
}

TEST_CASE("page softmax: weights, sums and maxima are those of the exact softmax") {
  for_instruction_sets([](InstructionSet set) {
    std::mt19937 generator(7);
    std::normal_distribution<float> normal;
    for (const float centre : {0.0F, 30.0F, -1000.0F, 20000.0F, -20000.0F}) {
      CAPTURE(centre);
      Softmax softmax(set);
      std::vector<double> sums(kRow, 0.0);  // of exp(logit - centre)
      for (int page = 0; page < 40; ++page) {
        const float spread = 1 + static_cast<float>(page % 5);
        for (std::size_t i = 0; i < kRow * kPageTokens; ++i) {
          softmax.logits.data()[i] = centre + spread * normal(generator);
        }
        for (std::size_t t = 0; t < kPageTokens; ++t) {
          softmax.token_factor.data()[t] = std::exp(2 * normal(generator));
        }
        const std::vector<float> logits(softmax.logits.data(),
                                        softmax.logits.data() + kRow * kPageTokens);
        softmax.run();
        for (std::size_t row = 0; row < kRow; ++row) {
          const float* const s = logits.data() + row * kPageTokens;
          for (std::size_t t = 0; t < kPageTokens; ++t) {
            sums[row] += std::exp(static_cast<double>(s[t]) - centre);
          }
          // Logits of 20000 are apart by 2e-3 at least, and so are their logarithms.
          CHECK(weight_error(softmax, logits, row) < (std::abs(centre) > 1e4F ? 4e-3 : 1.5e-4));
          const SoftmaxState& state = softmax.states.data()[row];
          CHECK(state.maximum <= *std::max_element(s, s + kPageTokens) + 40);
          const double sum = state.sum * std::exp(static_cast<double>(state.maximum) - centre);
          CHECK(sum == doctest::Approx(sums[row]).epsilon(2e-5));
        }
      }
    }
  });
}

TEST_CASE("page softmax: no weight passes the greatest, wherever the logits' bits end") {
  for_instruction_sets([](InstructionSet set) {
    std::mt19937 generator(8);
    std::uniform_real_distribution<float> uniform(1.0F, 2.0F);
    for (int trial = 0; trial < 2000; ++trial) {
      Softmax softmax(set);
      // One token stands out, with a factor and a logit of any mantissa.
      const float centre = std::ldexp(uniform(generator), 6 + trial % 10);
      for (std::size_t i = 0; i < kRow * kPageTokens; ++i) softmax.logits.data()[i] = centre - 30;
      for (std::size_t row = 0; row < kRow; ++row) {
        softmax.logits.data()[row * kPageTokens + 11 * row] =
            centre + 0.01F * static_cast<float>(row);
      }
      for (std::size_t t = 0; t < kPageTokens; ++t) {
        softmax.token_factor.data()[t] = uniform(generator);
      }
      const std::vector<float> logits(softmax.logits.data(),
                                      softmax.logits.data() + kRow * kPageTokens);
      softmax.run();
      for (std::size_t row = 0; row < kRow; ++row) {
        REQUIRE(weight_error(softmax, logits, row) < 8e-3);
      }
    }
  });
}

TEST_CASE("page softmax: rows that see nothing, and weights that are next to nothing") {
  for_instruction_sets([](InstructionSet set) {
    Softmax softmax(set);
    std::fill_n(softmax.token_factor.data(), kPageTokens, 1.0F);
    std::fill_n(softmax.logits.data(), kRow * kPageTokens, kNone);
    softmax.logits.data()[kPageTokens + 3] = 5.0F;
    softmax.run();
    CHECK(softmax.states.data()[0].maximum == kNone);
    CHECK(softmax.states.data()[0].sum == 0.0F);
    CHECK(softmax.factor.data()[0] == 0.0F);
    CHECK(softmax.rescale.data()[0] == 1.0F);
    CHECK(softmax.states.data()[1].maximum == 5.0F);
    CHECK(softmax.states.data()[1].sum == 1.0F);
    for (std::size_t t = 0; t < kPageTokens; ++t) {
      CHECK(softmax.weight(0, t) == 0);
      CHECK((softmax.weight(1, t) != 0) == (t == 3));
    }
    // Far below what the row has seen: nothing is lost but itself.
    std::fill_n(softmax.logits.data(), kRow * kPageTokens, -500.0F);
    softmax.run();
    CHECK(softmax.states.data()[1].sum == 1.0F);
    CHECK(softmax.factor.data()[1] * static_cast<float>(softmax.weight(1, 3)) < 1e-30F);
    CHECK(std::isfinite(softmax.factor.data()[1]));
    CHECK(softmax.states.data()[0].maximum == -500.0F);
    CHECK(softmax.states.data()[0].sum == doctest::Approx(128.0));
    // All of a page's values may be zeros.
    std::fill_n(softmax.token_factor.data(), kPageTokens, 0.0F);
    std::fill_n(softmax.logits.data(), kRow * kPageTokens, 1.0F);
    softmax.run();
    for (std::size_t row = 0; row < kRow; ++row) {
      CHECK(std::isfinite(softmax.factor.data()[row]));
      CHECK(softmax.factor.data()[row] * static_cast<float>(softmax.weight(row, 5)) < 1e-30F);
    }
  });
}

TEST_CASE("page softmax: a probability is exact, or next to nothing and then 0") {
  // Subnormal numbers would make every product with them take a hundred times as long.
  for_instruction_sets([](InstructionSet set) {
    std::mt19937 generator(9);
    std::uniform_real_distribution<float> below(0.0F, 120.0F);
    Softmax softmax(set);
    for (std::size_t i = 0; i < kRow * kPageTokens; ++i) {
      softmax.logits.data()[i] = i % kPageTokens == 0 ? 3.0F : 3.0F - below(generator);
    }
    const std::vector<float> logits(softmax.logits.data(),
                                    softmax.logits.data() + kRow * kPageTokens);
    softmax.kernels.page_softmax({softmax.logits.data(),
                                  softmax.states.data(),
                                  softmax.rescale.data(),
                                  softmax.mass.data(),
                                  kRow,
                                  nullptr,
                                  nullptr,
                                  nullptr,
                                  {}});
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double exact = std::exp(static_cast<double>(logits[i]) - 3.0);
      const float p = softmax.logits.data()[i];
      if (exact > 1.01 * 0x1p-100) REQUIRE(p == doctest::Approx(exact).epsilon(2e-5));
      if (exact < 0.99 * 0x1p-100) REQUIRE(p == 0.0F);
      REQUIRE((p == 0.0F || std::isnormal(p)));
    }
  });
}

}  // namespace
}  // namespace kvault::cpu
