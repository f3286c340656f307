#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/codec/codebook.hpp"
#include "core/codec/equaliser.hpp"
#include "core/codec/rotation.hpp"
#include "core/layout/block_layout.hpp"
#include "core/oracle/oracle.hpp"
#include "tests/support/random.hpp"

namespace kvault {
namespace {

constexpr std::uint32_t kHeadDims[] = {32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 512};

TEST_CASE("codebooks: tables, steps and their Gaussian error are pinned") {
  const std::vector<int> tables[] = {
      {0, 15, 26, 34, 41, 48, 54, 60, 67, 73, 79, 86, 93, 101, 112, 127},
      {0, 24, 41, 56, 71, 86, 103, 127},
      {0, 44, 83, 127}};
  const double expected[] = {.009594, .034576, .117547};
  constexpr Scheme kSchemes[] = {Scheme::tq4, Scheme::tq3, Scheme::tq2};
  for (int i = 0; i < 3; ++i) {
    const Codebook book = Codebook::of(kSchemes[i]);
    CHECK(std::vector<int>(book.levels.begin(), book.levels.end()) == tables[i]);
    const auto step = static_cast<double>(book.step_times_sqrt_dim);
    double mse = 0;
    constexpr int kSteps = 200000;
    for (int j = 0; j < kSteps; ++j) {  // midpoint rule over [-8, 8]
      const double x = -8.0 + 16.0 * (j + 0.5) / kSteps;
      double best = 1e9;
      for (const int level : tables[i]) best = std::min(best, std::abs(x - (level - 63.5) * step));
      mse += best * best * std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi) * 16.0 / kSteps;
    }
    CHECK(mse == doctest::Approx(expected[i]).epsilon(.001));
  }
}

TEST_CASE("rotation: equals the oracle's, and its inverse undoes it") {
  test::Random random(53);
  for (const std::uint32_t head_dim : kHeadDims) {
    CAPTURE(head_dim);
    const Rotation rotation(head_dim);
    const auto truth = oracle::Rotation::create(head_dim);
    REQUIRE(truth);
    std::vector<float> x = random.normals(head_dim);
    const std::vector<double> exact(x.begin(), x.end());
    std::vector<double> rotated(head_dim);
    truth->forward(exact, rotated);
    rotation.apply(x);
    for (std::uint32_t i = 0; i < head_dim; ++i) {
      CHECK(static_cast<double>(x[i]) == doctest::Approx(rotated[i]).epsilon(1e-5).scale(1.0));
    }
    rotation.apply_inverse(x);
    for (std::uint32_t i = 0; i < head_dim; ++i) {
      CHECK(static_cast<double>(x[i]) == doctest::Approx(exact[i]).epsilon(1e-5).scale(1.0));
    }
  }
}

TEST_CASE("block layout: sizes of the format, and the oracle agrees for every format") {
  for (const std::uint32_t head_dim : kHeadDims) {
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      const auto format = BlockFormat::from_byte(static_cast<std::uint8_t>(byte));
      const auto truth = oracle::block_size(static_cast<std::uint8_t>(byte), head_dim);
      REQUIRE(format.has_value() == truth.has_value());
      if (!format) continue;
      CHECK(BlockLayout::of(*format, head_dim).size_bytes == *truth);
      CHECK(format->byte() == byte);
    }
  }
}

TEST_CASE("equaliser: geometric mean 1, clamped, unknown channels stay 1") {
  std::vector<double> q_energy = {1.0, 16.0, 1.0 / 16.0, 0.0, 1.0, 1e30};
  std::vector<double> variance = {1.0, 1.0, 1.0, 1.0, 0.0, 1e-30};
  const std::vector<Half> e = learn_equaliser(q_energy, variance);
  CHECK(to_float(e[3]) == 1.0F);
  CHECK(to_float(e[4]) == 1.0F);
  CHECK(to_float(e[5]) == 64.0F);
  CHECK(to_float(e[0]) == to_float(to_half(1.0F / 64.0F)));
  q_energy = {1.0, 16.0, 1.0 / 16.0};
  variance = {4.0, 4.0, 4.0};
  const std::vector<Half> plain = learn_equaliser(q_energy, variance);
  CHECK(to_float(plain[0]) == 1.0F);
  CHECK(to_float(plain[1]) == 2.0F);
  CHECK(to_float(plain[2]) == 0.5F);
  CHECK(is_valid_equaliser(plain));
  CHECK(!is_valid_equaliser(std::vector<Half>{to_half(0.0F)}));
  CHECK(!is_valid_equaliser(std::vector<Half>{Half{0x7C00}}));
  CHECK(!is_valid_equaliser(std::vector<Half>{to_half(-1.0F)}));
}

TEST_CASE("presets: names, and f16 is raw") {
  CHECK(presets().size() == 8);
  for (const Preset& preset : presets()) CHECK(find_preset(preset.name)->key == preset.key);
  CHECK(find_preset("f16")->value == Scheme::raw);
  CHECK(find_preset("k4v3")->value == Scheme::tq3);
  CHECK(find_preset("near-lossless")->key == Scheme::q8);
  CHECK(find_preset("balanced")->key == Scheme::tq4);
  CHECK(find_preset("small")->value == Scheme::tq3);
  CHECK(!find_preset("k5v5"));
}

}  // namespace
}  // namespace kvault
