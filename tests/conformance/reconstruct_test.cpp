#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/layout/block_layout.hpp"
#include "core/oracle/oracle.hpp"
#include "tests/support/coded_block.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random.hpp"

// What every device must do with blocks: give back the rows that the oracle gives back, in any row
// type.

namespace kvault {
namespace {

using test::Block;

/// Rows of a block's bytes, as a device reconstructs them.
std::vector<std::byte> reconstruct(Device& device, const Block& block, RowType row_type) {
  auto buffer = device.allocate({.size_bytes = block.bytes.size()});
  REQUIRE(buffer);
  REQUIRE(device.upload(**buffer, 0, block.bytes));
  std::vector<std::byte> rows(std::size_t{kPageTokens} * block.head_dim * size_bytes_of(row_type));
  const Buffer* const buffers[] = {buffer->get()};
  const BlockRef refs[] = {{0, 0, block.format}};
  const auto ticket = device.reconstruct({.side = block.side,
                                          .head_dim = block.head_dim,
                                          .buffers = buffers,
                                          .blocks = refs,
                                          .equaliser = block.equaliser,
                                          .row_type = row_type,
                                          .rows = rows});
  REQUIRE(ticket);
  REQUIRE(device.wait(*ticket));
  return rows;
}

/// Half the distance of neighbours of a row type, relative to the number.
double rounding_of(RowType type) {
  if (type == RowType::f32) return 0;
  return type == RowType::f16 ? 0x1.0p-11 : 0x1.0p-8;
}

/// The worst error of a token relative to its equalised norm, what row_type rounds left out: float
/// rounds before the division by e.
double worst_error(const Block& block, std::span<const double> truth, std::span<const float> rows,
                   RowType row_type) {
  double worst = 0;
  for (std::size_t token = 0; token < kPageTokens; ++token) {
    double norm = 0;
    double error = 0;
    for (std::size_t i = 0; i < block.head_dim; ++i) {
      const double e =
          block.equaliser.empty() ? 1.0 : static_cast<double>(to_float(block.equaliser[i]));
      const double exact = truth[token * block.head_dim + i];
      const auto got = static_cast<double>(rows[token * block.head_dim + i]);
      const double rounding = std::abs(exact) * rounding_of(row_type) * 1.001 + 6e-8;
      const double allowed = row_type == RowType::f32 ? 0.0 : rounding;
      norm += exact * e * exact * e;
      error = std::max(error, (std::abs(exact - got) - allowed) * e);
    }
    worst = std::max(worst, norm > 0 ? error / std::sqrt(norm) : error);
  }
  return worst;
}

TEST_CASE("devices reconstruct what the oracle reconstructs, to every row type") {
  const auto devices = test::open_devices();
  test::Random random(3);
  for (const std::uint32_t head_dim : test::kHeadDims) {
    for (const Scheme scheme : test::kSchemes) {
      for (const Side side : {Side::key, Side::value}) {
        const BlockFormat format = BlockFormat::coded(scheme, random.integer(0, 1) == 0);
        Block block = test::random_block(random, head_dim, format, side == Side::key);
        block.side = side;
        // Not where centred: there a row of zeros is a small difference of large numbers.
        for (std::size_t i = 0; i < head_dim && !format.is_centred(); ++i) {
          block.rows[3 * head_dim + i] = 0;
        }
        test::encode(*devices.front(), block);
        REQUIRE(block.outcome == EncodeOutcome::coded);
        const auto truth = oracle::decode_block(
            {block.bytes, format.byte()}, side == Side::value, head_dim,
            test::widened(std::span<const Half>(block.equaliser)), oracle::Tables::standard());
        REQUIRE(truth);
        CAPTURE(head_dim);
        CAPTURE(std::string(name_of(scheme)));
        for (const auto& device : devices) {
          CAPTURE(std::string(device->caps().instruction_set));
          for (const RowType row_type : test::kRowTypes) {
            const auto rows = test::from_bytes(reconstruct(*device, block, row_type), row_type);
            CHECK(worst_error(block, *truth, rows, row_type) < 1e-6);
          }
        }
      }
    }
  }
}

TEST_CASE("raw blocks come back as they are, or rounded to another row type") {
  for (const auto& device : test::open_devices()) {
    test::Random random(4);
    for (const std::uint32_t head_dim : {32U, 48U, 112U}) {
      for (const RowType stored : test::kRowTypes) {
        Block block;
        block.head_dim = head_dim;
        block.format = BlockFormat::raw(stored);
        block.rows = random.normals(std::size_t{kPageTokens} * head_dim, 20.0);
        block.rows[5] = std::numeric_limits<float>::infinity();
        block.rows[6] = -std::numeric_limits<float>::infinity();
        block.rows[7] = 3e-6F;  // subnormal in f16
        test::set_row_type(block, stored);
        block.bytes = test::to_bytes(block.rows, stored);
        block.bytes.resize(BlockLayout::of(block.format, head_dim).size_bytes);
        for (const RowType row_type : test::kRowTypes) {
          CAPTURE(std::string(name_of(stored)));
          CAPTURE(std::string(name_of(row_type)));
          CHECK(reconstruct(*device, block, row_type) == test::to_bytes(block.rows, row_type));
        }
      }
    }
  }
}

TEST_CASE("blocks of several formats come back in one call, each in its place") {
  for (const auto& device : test::open_devices()) {
    test::Random random(5);
    constexpr std::uint32_t kDim = 64;
    constexpr std::size_t kRows = std::size_t{kPageTokens} * kDim;
    std::vector<std::byte> bytes;
    std::vector<BlockRef> refs;
    std::vector<std::byte> expected;
    for (const Scheme scheme : test::kSchemes) {
      Block block = test::random_block(random, kDim,
                                       BlockFormat::coded(scheme, scheme == Scheme::tq2), false);
      test::encode(*device, block);
      refs.push_back({bytes.size(), 0, block.format});
      bytes.insert(bytes.end(), block.bytes.begin(), block.bytes.end());
      const std::vector<std::byte> alone = reconstruct(*device, block, RowType::f16);
      expected.insert(expected.end(), alone.begin(), alone.end());
    }
    auto buffer = device->allocate({.size_bytes = bytes.size()});
    REQUIRE(buffer);
    REQUIRE(device->upload(**buffer, 0, bytes));
    std::vector<std::byte> rows(refs.size() * kRows * sizeof(Half));
    const Buffer* const buffers[] = {buffer->get()};
    const auto ticket = device->reconstruct({.side = Side::key,
                                             .head_dim = kDim,
                                             .buffers = buffers,
                                             .blocks = refs,
                                             .equaliser = {},
                                             .row_type = RowType::f16,
                                             .rows = rows});
    REQUIRE(ticket);
    REQUIRE(device->wait(*ticket));
    CHECK(rows == expected);
  }
}

/// Rows [n_block, 128, row] as [n_block / n_head, 128, n_head, row].
std::vector<std::byte> side_by_side(const std::vector<std::byte>& dense, std::size_t n_head,
                                    std::size_t row_bytes) {
  std::vector<std::byte> rows;
  for (std::size_t page = 0; page < dense.size() / (n_head * kPageTokens * row_bytes); ++page) {
    for (std::size_t token = 0; token < kPageTokens; ++token) {
      for (std::size_t head = 0; head < n_head; ++head) {
        const auto row =
            dense.begin() +
            static_cast<std::ptrdiff_t>(((page * n_head + head) * kPageTokens + token) * row_bytes);
        rows.insert(rows.end(), row, row + static_cast<std::ptrdiff_t>(row_bytes));
      }
    }
  }
  return rows;
}

TEST_CASE("rows of a token's heads lie side by side where that is asked for") {
  for (const auto& device : test::open_devices()) {
    CAPTURE(std::string(device->name()));
    test::Random random(6);
    for (const std::uint32_t head_dim : {32U, 48U, 128U, 512U}) {
      for (const std::uint32_t n_head : {2U, 3U, 8U}) {
        // Enough for several waves of a GPU's, and raw blocks between.
        const std::size_t n_block = std::size_t{n_head} * 3;
        std::vector<std::byte> bytes;
        std::vector<BlockRef> refs;
        for (std::size_t i = 0; i < n_block; ++i) {
          Block block = test::random_block(
              random, head_dim, BlockFormat::coded(test::kSchemes[i % 4], i % 2 == 0), false);
          test::encode(*device, block);
          if (i % 5 == 4) {
            block.format = BlockFormat::raw(i % 2 == 0 ? RowType::f16 : RowType::f32);
            block.bytes = test::to_bytes(block.rows, block.format.row_type());
            block.bytes.resize(BlockLayout::of(block.format, head_dim).size_bytes);
          }
          refs.push_back({bytes.size(), 0, block.format});
          bytes.insert(bytes.end(), block.bytes.begin(), block.bytes.end());
        }
        auto buffer = device->allocate({.size_bytes = bytes.size()});
        REQUIRE(buffer);
        REQUIRE(device->upload(**buffer, 0, bytes));
        const Buffer* const buffers[] = {buffer->get()};
        for (const RowType row_type : test::kRowTypes) {
          const std::size_t row_bytes = std::size_t{head_dim} * size_bytes_of(row_type);
          const auto rows_of = [&](std::uint32_t heads) {
            std::vector<std::byte> rows(n_block * kPageTokens * row_bytes);
            const auto ticket = device->reconstruct({.side = Side::key,
                                                     .head_dim = head_dim,
                                                     .n_head = heads,
                                                     .buffers = buffers,
                                                     .blocks = refs,
                                                     .equaliser = {},
                                                     .row_type = row_type,
                                                     .rows = rows});
            REQUIRE(ticket);
            REQUIRE(device->wait(*ticket));
            return rows;
          };
          CHECK(rows_of(n_head) == side_by_side(rows_of(1), n_head, row_bytes));
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvault
