#include "tools/eval/codecs/trellis.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "tools/eval/codecs/number_code.hpp"
#include "tools/eval/gaussian.hpp"
#include "tools/model/random.hpp"

namespace kvault::eval {
namespace {

constexpr float kSame[] = {1};

std::vector<float> gaussian(std::size_t n, std::uint64_t seed) {
  tools::Random random(seed);
  std::vector<float> numbers(n);
  for (float& x : numbers) x = static_cast<float>(random.normal());
  return numbers;
}

double mse_of(std::span<const float> x, std::span<const float> values) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    sum += (double{x[i]} - double{values[i]}) * (double{x[i]} - double{values[i]});
  }
  return sum / static_cast<double>(x.size());
}

TEST_CASE("trellis: on fresh Gaussian numbers it errs a third less than the best scalar code") {
  const std::vector<float> x = gaussian(1U << 15U, 4711);
  std::vector<std::uint8_t> codes(x.size());
  std::vector<float> values(x.size());
  for (const std::uint32_t bits : {1U, 2U, 3U, 4U}) {
    const std::uint32_t wanted[] = {bits};
    const Trellis trellis(wanted);
    const std::uint8_t each[] = {static_cast<std::uint8_t>(bits)};
    trellis.encode(x, each, kSame, codes);
    trellis.decode(codes, each, values);
    const double mse = mse_of(x, values);
    CAPTURE(bits);
    CHECK(mse < 0.79 * lloyd_max(bits).mse);
    CHECK(mse > std::pow(4.0, -double(bits)));  // Shannon's bound
    CHECK(mse == doctest::Approx(trellis_errors()[bits]).epsilon(0.03));
    CHECK(lloyd_max(bits).mse == doctest::Approx(scalar_errors()[bits]).epsilon(1e-4));
  }
}

/// The best of all codes of a short run, by trying them.
TEST_CASE("trellis: the search finds the best of all codes") {
  constexpr std::size_t kNumbers = 7;
  const std::uint32_t wanted[] = {2};
  const Trellis trellis(wanted);
  const std::uint8_t each[] = {2};
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const std::vector<float> x = gaussian(kNumbers, seed);
    std::array<std::uint8_t, kNumbers> codes{};
    std::array<float, kNumbers> values{};
    double best = 1e9;
    for (unsigned all = 0; all < 1U << (2 * kNumbers); ++all) {
      for (std::size_t i = 0; i < kNumbers; ++i) {
        codes[i] = static_cast<std::uint8_t>(all >> (2 * i) & 3U);
      }
      trellis.decode(codes, each, values);
      best = std::min(best, mse_of(x, values));
    }
    trellis.encode(x, each, kSame, codes);
    trellis.decode(codes, each, values);
    CHECK(mse_of(x, values) == doctest::Approx(best).epsilon(1e-5));
  }
}

TEST_CASE("trellis: a number is decoded from its own code and the eight before it") {
  const std::uint32_t wanted[] = {3};
  const Trellis trellis(wanted);
  const std::uint8_t each[] = {3};
  tools::Random random(8);
  std::vector<std::uint8_t> codes(200);
  for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(random.below(8));
  std::vector<float> values(codes.size());
  trellis.decode(codes, each, values);
  std::vector<float> part(9);
  for (std::size_t i = 8; i < codes.size(); ++i) {
    trellis.decode(std::span(codes).subspan(i - 8, 9), each, part);
    CHECK(part.back() == values[i]);
  }
}

TEST_CASE("trellis: bits may change from number to number, and zero bits store nothing") {
  const std::vector<float> x = gaussian(4096, 9);
  const std::uint32_t wanted[] = {1, 2, 4};
  const Trellis trellis(wanted);
  const std::uint8_t pattern[] = {4, 0, 2, 1};
  const float weights[] = {64, 0, 4, 1};
  std::vector<std::uint8_t> codes(x.size());
  std::vector<float> values(x.size());
  trellis.encode(x, pattern, weights, codes);
  trellis.decode(codes, pattern, values);
  std::array<double, 4> errors{};
  for (std::size_t i = 0; i < x.size(); ++i) {
    CHECK(codes[i] < 1U << pattern[i % 4]);
    const double miss = double{x[i]} - double{values[i]};
    errors[i % 4] += miss * miss / (static_cast<double>(x.size()) / 4);
  }
  CHECK(errors[0] < 0.012);
  CHECK(errors[1] == doctest::Approx(1.0).epsilon(0.1));
  CHECK(errors[2] < 0.12);
  CHECK(errors[3] < 0.37);
}

}  // namespace
}  // namespace kvault::eval
