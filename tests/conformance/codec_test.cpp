#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/layout/block_layout.hpp"
#include "core/oracle/oracle.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random.hpp"

// What every device must do with blocks: encode within the codec's bound, bytes that the oracle
// reads, and reconstruct what the oracle reconstructs.

namespace kvault {
namespace {

constexpr std::uint32_t kHeadDims[] = {32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 512};
constexpr Scheme kSchemes[] = {Scheme::q8, Scheme::tq4, Scheme::tq3, Scheme::tq2};

struct Block {
  std::vector<float> rows;      ///< [128, head_dim]
  std::vector<Half> equaliser;  ///< [head_dim] or empty
  std::vector<std::byte> bytes;
  BlockFormat format;
  EncodeOutcome outcome = EncodeOutcome::does_not_fit;
};

std::vector<double> widened(std::span<const Half> values) {
  std::vector<double> wide;
  for (const Half value : values) wide.push_back(static_cast<double>(to_float(value)));
  return wide;
}

std::vector<double> widened(std::span<const float> values) {
  return {values.begin(), values.end()};
}

void encode(Device& device, Side side, std::uint32_t head_dim, ScaleRule rule, Block& block) {
  const std::uint64_t raw_bytes = block.rows.size() * sizeof(float);
  const std::uint64_t size_bytes = BlockLayout::of(block.format, head_dim).size_bytes;
  auto source = device.allocate({.size_bytes = raw_bytes});
  auto target = device.allocate({.size_bytes = size_bytes});
  REQUIRE(source);
  REQUIRE(target);
  REQUIRE(device.upload(**source, 0, std::as_bytes(std::span(block.rows))));
  Buffer* const buffers[] = {source->get(), target->get()};
  const EncodeBlock blocks[] = {{{0, 0, BlockFormat::raw(RowType::f32)}, {0, 1, block.format}}};
  const auto ticket = device.encode({.side = side,
                                     .head_dim = head_dim,
                                     .scale_rule = rule,
                                     .buffers = buffers,
                                     .blocks = blocks,
                                     .equaliser = block.equaliser,
                                     .outcomes = {&block.outcome, 1}});
  REQUIRE(ticket);
  REQUIRE(device.wait(*ticket));
  block.bytes.resize(size_bytes);
  const auto read = device.download(**target, 0, block.bytes);
  REQUIRE(read);
  REQUIRE(device.wait(*read));
}

Block random_block(test::Random& random, std::uint32_t head_dim, BlockFormat format,
                   bool with_equaliser) {
  Block block;
  block.rows = random.normals(std::size_t{kPageTokens} * head_dim);
  block.format = format;
  for (std::uint32_t i = 0; with_equaliser && i < head_dim; ++i) {
    block.equaliser.push_back(to_half(static_cast<float>(std::exp(random.normal()))));
  }
  return block;
}

oracle::EncodedRows oracle_codes(const Block& block, std::uint32_t head_dim,
                                 std::span<const double> mean) {
  const std::vector<double> rows = widened(std::span<const float>(block.rows));
  const std::vector<double> equaliser = widened(std::span<const Half>(block.equaliser));
  auto truth = oracle::quantise_block({.rows = rows,
                                       .scheme = static_cast<std::uint8_t>(block.format.scheme()),
                                       .head_dim = head_dim,
                                       .equaliser = equaliser,
                                       .centred = block.format.is_centred(),
                                       .rule = oracle::Rule::matched,
                                       .mean = mean},
                                      oracle::Tables::standard());
  REQUIRE(truth);
  return *truth;
}

/// Codes equal the oracle's but for near ties, scales to a rounding of f16.
void check_against_oracle(const Block& block, Side side, std::uint32_t head_dim) {
  const oracle::BlockBytes bytes = {block.bytes, block.format.byte()};
  const auto stored = oracle::read_block(bytes, side == Side::value, head_dim);
  REQUIRE(stored);
  const oracle::EncodedRows truth = oracle_codes(
      block, head_dim, block.format.is_centred() ? stored->mean : std::vector<double>());
  std::size_t n_wrong = 0;
  for (std::size_t i = 0; i < truth.codes.size(); ++i) {
    if (stored->codes[i] != truth.codes[i] && truth.margin[i] > 2e-3) ++n_wrong;
  }
  CHECK(n_wrong == 0);
  for (std::size_t token = 0; token < kPageTokens; ++token) {
    CHECK(std::abs(stored->scale[token] - truth.scale[token]) <= truth.scale[token] * 2e-3);
  }
}

TEST_CASE("devices encode blocks as the oracle does, every scheme, side and head_dim") {
  for (const auto& device : test::open_devices()) {
    test::Random random(1);
    for (const std::uint32_t head_dim : kHeadDims) {
      for (const Scheme scheme : kSchemes) {
        for (const Side side : {Side::key, Side::value}) {
          CAPTURE(head_dim);
          CAPTURE(std::string(name_of(scheme)));
          Block block =
              random_block(random, head_dim, BlockFormat::coded(scheme, true), side == Side::key);
          encode(*device, side, head_dim, ScaleRule::matched, block);
          REQUIRE(block.outcome == EncodeOutcome::coded);
          check_against_oracle(block, side, head_dim);
        }
      }
    }
  }
}

double relative_mse(const Block& block, std::uint32_t head_dim) {
  const auto decoded = oracle::decode_block({block.bytes, block.format.byte()}, false, head_dim, {},
                                            oracle::Tables::standard());
  REQUIRE(decoded);
  double error = 0;
  double energy = 0;
  for (std::size_t i = 0; i < block.rows.size(); ++i) {
    const auto x = static_cast<double>(block.rows[i]);
    error += ((*decoded)[i] - x) * ((*decoded)[i] - x);
    energy += x * x;
  }
  return error / energy;
}

TEST_CASE("codec error of random rows is the Lloyd-Max error of the sphere marginal") {
  // Exact sphere marginal, uncentred, plain norm: 4, 3, 2 bits.
  const struct {
    std::uint32_t head_dim;
    double mse[3];
  } expected[] = {{64, {.009247, .03347, .11458}},
                  {128, {.009409, .03401, .11606}},
                  {256, {.009499, .03429, .11680}}};
  constexpr Scheme kTq[] = {Scheme::tq4, Scheme::tq3, Scheme::tq2};
  for (const auto& device : test::open_devices()) {
    test::Random random(2);
    for (const auto& row : expected) {
      for (int i = 0; i < 3; ++i) {
        double plain = 0;
        double least_squares = 0;
        constexpr int kBlocks = 24;
        for (int b = 0; b < kBlocks; ++b) {
          Block block =
              random_block(random, row.head_dim, BlockFormat::coded(kTq[i], false), false);
          encode(*device, Side::key, row.head_dim, ScaleRule::plain, block);
          plain += relative_mse(block, row.head_dim) / kBlocks;
          encode(*device, Side::key, row.head_dim, ScaleRule::least_squares, block);
          least_squares += relative_mse(block, row.head_dim) / kBlocks;
        }
        CAPTURE(row.head_dim);
        CAPTURE(i);
        CHECK(plain == doctest::Approx(row.mse[i]).epsilon(.01));
        CHECK(least_squares <= plain);
      }
    }
  }
}

TEST_CASE("devices reconstruct what the oracle reconstructs") {
  for (const auto& device : test::open_devices()) {
    test::Random random(3);
    for (const std::uint32_t head_dim : kHeadDims) {
      for (const Side side : {Side::key, Side::value}) {
        Block block = random_block(random, head_dim, BlockFormat::coded(Scheme::tq3, true),
                                   side == Side::key);
        encode(*device, side, head_dim, ScaleRule::matched, block);
        auto buffer = device->allocate({.size_bytes = block.bytes.size()});
        REQUIRE(buffer);
        REQUIRE(device->upload(**buffer, 0, block.bytes));
        std::vector<float> rows(block.rows.size());
        const Buffer* const buffers[] = {buffer->get()};
        const BlockRef refs[] = {{0, 0, block.format}};
        const auto ticket = device->reconstruct({.side = side,
                                                 .head_dim = head_dim,
                                                 .buffers = buffers,
                                                 .blocks = refs,
                                                 .equaliser = block.equaliser,
                                                 .rows = rows});
        REQUIRE(ticket);
        REQUIRE(device->wait(*ticket));
        const auto truth = oracle::decode_block(
            {block.bytes, block.format.byte()}, side == Side::value, head_dim,
            widened(std::span<const Half>(block.equaliser)), oracle::Tables::standard());
        REQUIRE(truth);
        // Relative to the equalised row's norm: float rounds there, before the division by e.
        double worst = 0;
        for (std::size_t token = 0; token < kPageTokens; ++token) {
          double norm = 0;
          double error = 0;
          for (std::size_t i = 0; i < head_dim; ++i) {
            const double e =
                side == Side::key ? static_cast<double>(to_float(block.equaliser[i])) : 1.0;
            const double exact = (*truth)[token * head_dim + i];
            const auto got = static_cast<double>(rows[token * head_dim + i]);
            norm += exact * e * exact * e;
            error = std::max(error, std::abs(exact - got) * e);
          }
          worst = std::max(worst, error / std::sqrt(norm));
        }
        CAPTURE(head_dim);
        CHECK(worst < 1e-6);
      }
    }
  }
}

TEST_CASE("a block whose scale or mean exceeds binary16 is refused, and nothing is written") {
  for (const auto& device : test::open_devices()) {
    test::Random random(4);
    Block block = random_block(random, 64, BlockFormat::coded(Scheme::tq4, true), false);
    for (float& value : block.rows) value *= 1e6F;
    encode(*device, Side::key, 64, ScaleRule::matched, block);
    CHECK(block.outcome == EncodeOutcome::does_not_fit);
    for (float& value : block.rows) value = 1e6F;
    encode(*device, Side::key, 64, ScaleRule::matched, block);
    CHECK(block.outcome == EncodeOutcome::does_not_fit);
  }
}

TEST_CASE("tiny, zero and constant blocks encode to finite scales that are never subnormal") {
  for (const auto& device : test::open_devices()) {
    for (const float value : {0.0F, 1e-8F, 6e-5F, 1e-4F, 3.0F}) {
      for (const Scheme scheme : kSchemes) {
        Block block;
        block.rows.assign(std::size_t{kPageTokens} * 64, value);
        block.format = BlockFormat::coded(scheme, false);
        encode(*device, Side::value, 64, ScaleRule::matched, block);
        REQUIRE(block.outcome == EncodeOutcome::coded);
        const auto stored = oracle::read_block({block.bytes, block.format.byte()}, true, 64);
        REQUIRE(stored);
        for (const double scale : stored->scale) {
          CHECK(std::isfinite(scale));
          const bool is_legal = scale == 0.0 || scale >= static_cast<double>(kHalfMinNormal);
          CHECK(is_legal);
        }
      }
    }
  }
}

TEST_CASE("centring lowers the error of an offset block and never hurts one with a huge token") {
  for (const auto& device : test::open_devices()) {
    test::Random random(5);
    constexpr std::uint32_t kDim = 128;
    const auto squared_error = [&](Block& block, bool centred, std::uint32_t skipped_token) {
      block.format = BlockFormat::coded(Scheme::tq4, centred);
      encode(*device, Side::key, kDim, ScaleRule::matched, block);
      const auto decoded = oracle::decode_block({block.bytes, block.format.byte()}, false, kDim, {},
                                                oracle::Tables::standard());
      REQUIRE(decoded);
      double sum = 0;
      for (std::size_t i = 0; i < block.rows.size(); ++i) {
        if (i / kDim == skipped_token) continue;
        const double difference = (*decoded)[i] - static_cast<double>(block.rows[i]);
        sum += difference * difference;
      }
      return sum;
    };
    Block offset = random_block(random, kDim, {}, false);
    for (std::size_t i = 0; i < offset.rows.size(); ++i)
      offset.rows[i] += i % kDim == 3 ? 100.F : 0;
    CHECK(squared_error(offset, true, 128) < 0.02 * squared_error(offset, false, 128));
    Block spike = random_block(random, kDim, {}, false);
    for (std::uint32_t i = 0; i < kDim; ++i) spike.rows[std::size_t{7} * kDim + i] *= 200.F;
    CHECK(squared_error(spike, true, 7) <= 1.01 * squared_error(spike, false, 7));
  }
}

}  // namespace
}  // namespace kvault
