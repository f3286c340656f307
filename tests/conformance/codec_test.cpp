#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/layout/block_layout.hpp"
#include "core/oracle/oracle.hpp"
#include "tests/support/coded_block.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random.hpp"

// What every device must do with rows: encode them within the codec's bound, to bytes that the
// oracle reads. reconstruct_test.cpp is about the way back.

namespace kvault {
namespace {

using test::Block;
using test::encode;
using test::kHeadDims;
using test::kSchemes;
using test::random_block;

TEST_CASE("devices encode blocks as the oracle does, every scheme, side and head_dim") {
  for (const auto& device : test::open_devices()) {
    test::Random random(1);
    for (const std::uint32_t head_dim : kHeadDims) {
      for (const Scheme scheme : kSchemes) {
        for (const Side side : {Side::key, Side::value}) {
          Block block =
              random_block(random, head_dim, BlockFormat::coded(scheme, true), side == Side::key);
          block.side = side;
          encode(*device, block);
          REQUIRE(block.outcome == EncodeOutcome::coded);
          test::check_against_oracle(block);
        }
      }
    }
  }
}

// What rows of models look like, and what they should never do to an encoder.
enum class RowKind {
  normal,
  outlier_channels,
  offset,
  one_large_token,
  equal_tokens,
  many_zero_tokens,
  tiny_tokens,
  near_overflow,
};
constexpr RowKind kRowKinds[] = {RowKind::normal,       RowKind::outlier_channels,
                                 RowKind::offset,       RowKind::one_large_token,
                                 RowKind::equal_tokens, RowKind::many_zero_tokens,
                                 RowKind::tiny_tokens,  RowKind::near_overflow};

/// What RowKind makes of a normal number at (token, channel).
float shaped(RowKind kind, float x, std::span<const float> first_row, std::size_t token,
             std::size_t channel) {
  constexpr float kTiny[] = {1.0F, 1e-3F, 1e-7F, 1e-21F, 0.0F};
  switch (kind) {
    case RowKind::normal:
      return x;
    case RowKind::outlier_channels:
      return channel % 17 == 3 ? 10 * x : x;
    case RowKind::offset:
      return x + 100 * first_row[channel];
    case RowKind::one_large_token:
      return token == 7 ? 200 * x : x;
    case RowKind::equal_tokens:
      return first_row[channel];
    case RowKind::many_zero_tokens:
      return token % 3 == 0 ? x : 0.0F;
    case RowKind::tiny_tokens:
      return x * kTiny[token % 5];
    case RowKind::near_overflow:
      return channel == token % first_row.size() ? std::copysign(60000.0F, x) : x;
  }
  return x;
}

Block shaped_block(test::Random& random, RowKind kind, std::uint32_t head_dim, BlockFormat format,
                   Side side) {
  Block block = random_block(random, head_dim, format, side == Side::key);
  const std::vector<float> first_row(block.rows.begin(), block.rows.begin() + head_dim);
  for (std::size_t i = 0; i < block.rows.size(); ++i) {
    block.rows[i] = shaped(kind, block.rows[i], first_row, i / head_dim, i % head_dim);
  }
  block.side = side;
  return block;
}

TEST_CASE("devices encode as the oracle does: every scheme, head_dim, scale rule, centred or not") {
  constexpr ScaleRule kRules[] = {ScaleRule::plain, ScaleRule::matched, ScaleRule::least_squares,
                                  ScaleRule::unbiased};
  for (const auto& device : test::open_devices()) {
    test::Random random(11);
    std::uint32_t n = 0;
    for (const std::uint32_t head_dim : kHeadDims) {
      for (const Scheme scheme : kSchemes) {
        for (const ScaleRule rule : kRules) {
          for (const bool centred : {false, true}) {
            // The oracle's rotation is quadratic: of the widest heads every eighth case.
            if (++n % 8 != 0 && head_dim > 192) continue;
            const RowKind kind = kRowKinds[random.integer(0, 7)];
            CAPTURE(static_cast<int>(kind));
            Block block = shaped_block(random, kind, head_dim, BlockFormat::coded(scheme, centred),
                                       random.integer(0, 1) == 0 ? Side::key : Side::value);
            test::set_row_type(block, test::kRowTypes[random.integer(0, 2)]);
            block.rule = rule;
            encode(*device, block);
            test::check_against_oracle(block);
          }
        }
      }
    }
  }
}

TEST_CASE(
    "devices encode as the oracle does: every kind of rows, row type and side, and its mean") {
  for (const auto& device : test::open_devices()) {
    test::Random random(12);
    for (const std::uint32_t head_dim : {48U, 64U, 128U}) {
      for (const RowKind kind : kRowKinds) {
        for (const RowType row_type : test::kRowTypes) {
          for (const Side side : {Side::key, Side::value}) {
            CAPTURE(static_cast<int>(kind));
            const Scheme scheme = kSchemes[random.integer(0, 3)];
            Block block =
                shaped_block(random, kind, head_dim, BlockFormat::coded(scheme, true), side);
            test::set_row_type(block, row_type);
            encode(*device, block);
            test::check_against_oracle(block);
            if (block.outcome == EncodeOutcome::coded) test::check_mean(block);
          }
        }
      }
    }
  }
}

TEST_CASE("a block's bytes do not depend on the blocks beside it") {
  for (const auto& device : test::open_devices()) {
    test::Random random(13);
    for (const Side side : {Side::key, Side::value}) {
      std::vector<Block> together;
      for (const Scheme scheme : kSchemes) {
        for (const RowKind kind : {RowKind::offset, RowKind::near_overflow}) {
          const BlockFormat format = BlockFormat::coded(scheme, scheme != Scheme::tq3);
          together.push_back(shaped_block(random, kind, 80, format, side));
        }
      }
      std::vector<Block> alone = together;
      test::encode_blocks(*device, together);
      for (std::size_t i = alone.size(); i-- > 0;) {
        encode(*device, alone[i]);
        CHECK(alone[i].outcome == together[i].outcome);
        CHECK(alone[i].bytes == together[i].bytes);
      }
    }
  }
}

/// Bytes of blocks that differ, from `begin` to `end` of each.
std::size_t n_different(std::span<const Block> one, std::span<const Block> other,
                        std::uint64_t begin, std::uint64_t end) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < one.size(); ++i) {
    for (std::uint64_t at = begin; at < end; ++at) n += one[i].bytes[at] != other[i].bytes[at];
  }
  return n;
}

// A mean may round the other way, and then all of its block is another by a little.
TEST_CASE("devices encode rows without a mean to the same bytes but for one token in hundreds") {
  constexpr std::size_t kBlocks = 16;
  for (const std::uint32_t head_dim : {64U, 96U, 128U}) {
    for (const BlockFormat format :
         {BlockFormat::coded(Scheme::tq4, false), BlockFormat::coded(Scheme::tq3, false)}) {
      CAPTURE(head_dim);
      CAPTURE(std::string(name_of(format.scheme())));
      test::Random random(14);
      std::vector<Block> reference;
      for (std::size_t i = 0; i < kBlocks; ++i) {
        reference.push_back(shaped_block(random, RowKind::offset, head_dim, format, Side::key));
        test::set_row_type(reference.back(), RowType::f16);
      }
      const std::vector<Block> rows = reference;
      const BlockLayout layout = BlockLayout::of(format, head_dim);
      const std::uint64_t scales_end = layout.scale_offset_bytes + kPageTokens * sizeof(Half);
      bool is_first = true;
      for (const auto& device : test::open_devices()) {
        CAPTURE(std::string(device->name()));
        CAPTURE(std::string(device->caps().instruction_set));
        std::vector<Block> blocks = rows;
        test::encode_blocks(*device, blocks);
        if (is_first) reference = blocks;
        is_first = false;
        CHECK(n_different(blocks, reference, 0, layout.codes_size_bytes) <= kBlocks / 4);
        CHECK(n_different(blocks, reference, layout.scale_offset_bytes, scales_end) <= kBlocks / 4);
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
          block.rule = ScaleRule::plain;
          encode(*device, block);
          plain += relative_mse(block, row.head_dim) / kBlocks;
          block.rule = ScaleRule::least_squares;
          encode(*device, block);
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

TEST_CASE("a block whose scale or mean exceeds binary16 is refused, and nothing is written") {
  for (const auto& device : test::open_devices()) {
    test::Random random(4);
    Block block = random_block(random, 64, BlockFormat::coded(Scheme::tq4, false), false);
    for (float& value : block.rows) value *= 1e6F;
    encode(*device, block);
    CHECK(block.outcome == EncodeOutcome::does_not_fit);
    test::check_against_oracle(block);
    for (float& value : block.rows) value = 1e6F;
    encode(*device, block);
    CHECK(block.outcome == EncodeOutcome::does_not_fit);
    test::check_against_oracle(block);
  }
}

TEST_CASE("tiny, zero and constant blocks encode to finite scales that are never subnormal") {
  for (const auto& device : test::open_devices()) {
    for (const float value : {0.0F, 1e-8F, 6e-5F, 1e-4F, 3.0F}) {
      for (const Scheme scheme : kSchemes) {
        Block block;
        block.side = Side::value;
        block.head_dim = 64;
        block.rows.assign(std::size_t{kPageTokens} * 64, value);
        block.format = BlockFormat::coded(scheme, false);
        encode(*device, block);
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
      encode(*device, block);
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
