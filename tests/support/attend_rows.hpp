#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "core/oracle/oracle.hpp"
#include "tests/support/attend_case.hpp"
#include "tests/support/coded_block.hpp"
#include "tests/support/random.hpp"

namespace kvault::test {

/// What keys or values look like.
enum class Rows : std::uint8_t {
  normal,
  outlier_channels,  ///< every 16th channel ten times as wide
  offset,            ///< each channel around a constant of a hundred sigma
  huge_token,        ///< one token 200 times as long
  equal,             ///< all tokens alike
  cancelling,        ///< tokens in pairs: equal keys, opposite values
  zero,
  tiny,
  rotated_peak,  ///< one coordinate outweighs all others once rotated
};
inline constexpr Rows kRows[] = {
    Rows::normal,      Rows::outlier_channels, Rows::offset, Rows::huge_token,
    Rows::equal,       Rows::cancelling,       Rows::zero,   Rows::tiny,
    Rows::rotated_peak};

/// What queries look like.
enum class Queries : std::uint8_t {
  normal,
  times_4,
  times_32,
  rotated_peak,
  towards_a_key,  ///< a logit of 20 and more at one token
  zero,
};
inline constexpr Queries kQueries[] = {Queries::normal,        Queries::times_4,
                                       Queries::times_32,      Queries::rotated_peak,
                                       Queries::towards_a_key, Queries::zero};

/// A row of N(0, 1) whose rotation has one coordinate of `peak`.
inline std::vector<float> rotated_peak(Random& random, std::uint32_t dim, double peak) {
  const auto rotation = oracle::Rotation::create(dim);
  REQUIRE(rotation);
  std::vector<double> rotated(dim);
  for (double& entry : rotated) entry = random.normal();
  rotated[random.integer(0, dim - 1)] = peak;
  std::vector<double> row(dim);
  rotation->inverse(rotated, row);
  return {row.begin(), row.end()};
}

/// [n_token, dim]
inline std::vector<float> make_rows(Random& random, Rows kind, Side side, std::size_t n_token,
                                    std::uint32_t dim) {
  std::vector<float> rows = random.normals(n_token * dim);
  const std::vector<float> direction =
      kind == Rows::rotated_peak ? rotated_peak(random, dim, 100.0) : random.normals(dim, 100.0);
  const std::size_t huge = n_token == 0 ? 0 : random.next() % n_token;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::size_t token = i / dim;
    const std::size_t channel = i % dim;
    switch (kind) {
      case Rows::normal:
        break;
      case Rows::outlier_channels:
        if (channel % 16 == 5) rows[i] *= 10;
        break;
      case Rows::offset:
        rows[i] += direction[channel];
        break;
      case Rows::huge_token:
        if (token == huge) rows[i] *= 200;
        break;
      case Rows::equal:
        rows[i] = rows[channel];
        break;
      case Rows::cancelling:
        if (token % 2 == 1) rows[i] = side == Side::key ? rows[i - dim] : -rows[i - dim];
        break;
      case Rows::zero:
        rows[i] = 0;
        break;
      case Rows::tiny:
        rows[i] *= 1e-5F;
        break;
      case Rows::rotated_peak:
        rows[i] += direction[channel] * static_cast<float>(random.uniform());
        break;
    }
  }
  return rows;
}

/// How blocks are stored: all of a side alike, or, where empty, every block as chance will have it.
struct Formats {
  std::optional<BlockFormat> key;
  std::optional<BlockFormat> value;
};

inline BlockFormat random_format(Random& random) {
  if (random.integer(0, 3) == 0) return BlockFormat::raw(kRowTypes[random.integer(0, 2)]);
  return BlockFormat::coded(kSchemes[random.integer(0, 3)], random.integer(0, 1) == 1);
}

/// The pages of one side, [n_page, n_kv_head], encoded by the device. A block that does not fit is
/// kept raw, as a cache would. `rows` is [n_kv_head][n_page * 128, dim].
inline std::vector<Block> encode_side(Device& device, Random& random, const AttendCase& c,
                                      Side side, const std::vector<std::vector<float>>& rows,
                                      const std::optional<BlockFormat>& format) {
  const std::uint32_t dim = side == Side::key ? c.key_head_dim : c.value_head_dim;
  const std::size_t size = std::size_t{kPageTokens} * dim;
  const auto rule = static_cast<ScaleRule>(random.integer(0, 3));
  std::vector<Block> blocks;
  std::vector<Block> coded;
  std::vector<std::size_t> places;
  for (std::size_t page = 0; page < c.n_page(); ++page) {
    for (std::size_t head = 0; head < c.n_kv_head; ++head) {
      Block block;
      block.side = side;
      block.head_dim = dim;
      block.rule = rule;
      block.format = format ? *format : random_format(random);
      const auto begin = rows[head].begin() + static_cast<std::ptrdiff_t>(page * size);
      block.rows.assign(begin, begin + static_cast<std::ptrdiff_t>(size));
      if (side == Side::key && !c.equaliser.empty()) {
        const auto first = c.equaliser.begin() + static_cast<std::ptrdiff_t>(head * dim);
        block.equaliser.assign(first, first + dim);
      }
      if (!block.format.is_raw()) {
        places.push_back(blocks.size());
        coded.push_back(block);
      }
      blocks.push_back(std::move(block));
    }
  }
  if (!coded.empty()) encode_blocks(device, coded);
  for (std::size_t i = 0; i < coded.size(); ++i) {
    if (coded[i].outcome == EncodeOutcome::does_not_fit) {
      coded[i].format = BlockFormat::raw(RowType::f32);
    }
    blocks[places[i]] = std::move(coded[i]);
  }
  for (Block& block : blocks) {
    if (block.format.is_raw()) block.bytes = to_bytes(block.rows, block.format.row_type());
  }
  return blocks;
}

/// Appends pages of such blocks.
inline void add_pages(AttendCase& c, std::span<const Block> keys, std::span<const Block> values) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    PageRef ref;
    ref.key = c.add_block(keys[i].bytes, keys[i].format);
    ref.value = c.add_block(values[i].bytes, values[i].format);
    c.refs.push_back(ref);
  }
}

inline std::vector<float> make_queries(Random& random, Queries kind, const AttendCase& c,
                                       const std::vector<std::vector<float>>& keys) {
  const std::size_t dim = c.key_head_dim;
  std::vector<float> all;
  for (std::size_t row = 0; row < c.n_row(); ++row) {
    std::vector<float> q = random.normals(dim);
    if (kind == Queries::rotated_peak) q = rotated_peak(random, c.key_head_dim, 60.0);
    for (float& entry : q) {
      if (kind == Queries::times_4) entry *= 4;
      if (kind == Queries::times_32) entry *= 32;
      if (kind == Queries::zero) entry = 0;
    }
    if (kind == Queries::towards_a_key) {
      const std::size_t head = row % c.n_head / (c.n_head / c.n_kv_head);
      const std::size_t token = random.next() % (keys[head].size() / dim);
      const float* const key = keys[head].data() + token * dim;
      float square = 1e-6F;
      for (std::size_t i = 0; i < dim; ++i) square += key[i] * key[i];
      for (std::size_t i = 0; i < dim; ++i) q[i] += 20 / (c.softmax_scale * square) * key[i];
    }
    all.insert(all.end(), q.begin(), q.end());
  }
  return all;
}

inline double greatest_norm(std::span<const float> rows, std::size_t dim) {
  double greatest = 0;
  for (std::size_t first = 0; first < rows.size(); first += dim) {
    double square = 0;
    for (const float entry : rows.subspan(first, dim)) {
      square += static_cast<double>(entry) * static_cast<double>(entry);
    }
    greatest = std::max(greatest, std::sqrt(square));
  }
  return greatest;
}

/// Gives a case of chosen shape its queries and pages. Pages are encoded by `device`.
inline void fill_case(AttendCase& c, Device& device, Random& random, Rows keys, Rows values,
                      Queries queries, const Formats& formats = {}) {
  if (random.integer(0, 1) == 1) {
    for (std::size_t i = 0; i < std::size_t{c.n_kv_head} * c.key_head_dim; ++i) {
      c.equaliser.push_back(to_half(static_cast<float>(std::exp(0.5 * random.normal()))));
    }
  }
  std::vector<std::vector<float>> key_rows;
  std::vector<std::vector<float>> value_rows;
  const std::size_t n_token = c.n_page() * kPageTokens;
  for (std::uint32_t head = 0; head < c.n_kv_head; ++head) {
    key_rows.push_back(make_rows(random, keys, Side::key, n_token, c.key_head_dim));
    value_rows.push_back(make_rows(random, values, Side::value, n_token, c.value_head_dim));
  }
  const auto key_blocks = encode_side(device, random, c, Side::key, key_rows, formats.key);
  const auto value_blocks = encode_side(device, random, c, Side::value, value_rows, formats.value);
  add_pages(c, key_blocks, value_blocks);
  c.q = make_queries(random, queries, c, key_rows);
  for (const std::vector<float>& rows : key_rows) {
    c.key_norm = std::max(c.key_norm, greatest_norm(rows, c.key_head_dim));
  }
}

}  // namespace kvault::test
