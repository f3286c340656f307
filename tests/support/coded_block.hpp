#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/device/device.hpp"
#include "core/layout/block_layout.hpp"
#include "core/oracle/oracle.hpp"
#include "tests/support/random.hpp"

namespace kvault::test {

inline constexpr std::uint32_t kHeadDims[] = {32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 512};
inline constexpr Scheme kSchemes[] = {Scheme::q8, Scheme::tq4, Scheme::tq3, Scheme::tq2};
inline constexpr RowType kRowTypes[] = {RowType::f16, RowType::bf16, RowType::f32};

/// Rows, and the coded block that a device made of them.
struct Block {
  Side side = Side::key;
  std::uint32_t head_dim = 0;
  RowType row_type = RowType::f32;
  std::vector<float> rows;      ///< [128, head_dim], values that row_type has
  std::vector<Half> equaliser;  ///< [head_dim] or empty
  BlockFormat format;
  ScaleRule rule = kDefaultScaleRule;
  std::vector<std::byte> bytes;
  EncodeOutcome outcome = EncodeOutcome::does_not_fit;
};

/// Of what stands in a target before an encode.
inline constexpr std::byte kUntouched{0x5A};

inline std::vector<double> widened(std::span<const Half> values) {
  std::vector<double> wide;
  for (const Half value : values) wide.push_back(static_cast<double>(to_float(value)));
  return wide;
}

inline std::vector<double> widened(std::span<const float> values) {
  return {values.begin(), values.end()};
}

inline std::vector<std::byte> to_bytes(std::span<const float> values, RowType type) {
  std::vector<std::byte> bytes(values.size() * size_bytes_of(type));
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::byte* const target = bytes.data() + i * size_bytes_of(type);
    const std::uint16_t bits =
        type == RowType::f16 ? to_half(values[i]).bits : to_bfloat16(values[i]).bits;
    if (type == RowType::f32) {
      std::memcpy(target, &values[i], 4);
    } else {
      std::memcpy(target, &bits, 2);
    }
  }
  return bytes;
}

inline std::vector<float> from_bytes(std::span<const std::byte> bytes, RowType type) {
  std::vector<float> values(bytes.size() / size_bytes_of(type));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::byte* const source = bytes.data() + i * size_bytes_of(type);
    std::uint16_t bits = 0;
    if (type == RowType::f32) {
      std::memcpy(&values[i], source, 4);
    } else {
      std::memcpy(&bits, source, 2);
      values[i] = type == RowType::f16 ? to_float(Half{bits}) : to_float(BFloat16{bits});
    }
  }
  return values;
}

/// The rows of a block become what its row type makes of them.
inline void set_row_type(Block& block, RowType type) {
  block.row_type = type;
  block.rows = from_bytes(to_bytes(block.rows, type), type);
}

inline std::vector<Half> random_equaliser(Random& random, std::uint32_t head_dim) {
  std::vector<Half> equaliser;
  for (std::uint32_t i = 0; i < head_dim; ++i) {
    equaliser.push_back(to_half(static_cast<float>(std::exp(random.normal()))));
  }
  return equaliser;
}

inline Block random_block(Random& random, std::uint32_t head_dim, BlockFormat format,
                          bool with_equaliser) {
  Block block;
  block.head_dim = head_dim;
  block.rows = random.normals(std::size_t{kPageTokens} * head_dim);
  block.format = format;
  if (with_equaliser) block.equaliser = random_equaliser(random, head_dim);
  return block;
}

/// Encodes `blocks`, all of one side, head_dim and rule and either all or none equalised, in a
/// single call.
inline void encode_blocks(Device& device, std::span<Block> blocks) {
  std::vector<EncodeBlock> list;
  std::vector<std::byte> source;
  std::vector<Half> equaliser;
  std::uint64_t target_size_bytes = 0;
  for (Block& block : blocks) {
    const BlockFormat raw = BlockFormat::raw(block.row_type);
    list.push_back({{source.size(), 0, raw}, {target_size_bytes, 1, block.format}});
    const std::vector<std::byte> bytes = to_bytes(block.rows, block.row_type);
    source.insert(source.end(), bytes.begin(), bytes.end());
    block.bytes.resize(BlockLayout::of(block.format, block.head_dim).size_bytes);
    target_size_bytes += block.bytes.size();
    equaliser.insert(equaliser.end(), block.equaliser.begin(), block.equaliser.end());
  }
  auto source_buffer = device.allocate({.size_bytes = source.size(), .is_zeroed = false});
  auto target_buffer = device.allocate({.size_bytes = target_size_bytes, .is_zeroed = false});
  REQUIRE(source_buffer);
  REQUIRE(target_buffer);
  REQUIRE(device.upload(**source_buffer, 0, source));
  const std::vector<std::byte> before(target_size_bytes, kUntouched);
  REQUIRE(device.upload(**target_buffer, 0, before));
  Buffer* const buffers[] = {source_buffer->get(), target_buffer->get()};
  std::vector<EncodeOutcome> outcomes(blocks.size());
  const auto ticket = device.encode({.side = blocks[0].side,
                                     .head_dim = blocks[0].head_dim,
                                     .scale_rule = blocks[0].rule,
                                     .buffers = buffers,
                                     .blocks = list,
                                     .equaliser = equaliser,
                                     .outcomes = outcomes});
  REQUIRE(ticket);
  REQUIRE(device.wait(*ticket));
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    blocks[i].outcome = outcomes[i];
    const auto read =
        device.download(**target_buffer, list[i].target.offset_bytes, blocks[i].bytes);
    REQUIRE(read);
    REQUIRE(device.wait(*read));
  }
}

inline void encode(Device& device, Block& block) { encode_blocks(device, {&block, 1}); }

/// What the oracle makes of the rows with this mean; an empty one: with the mean it finds.
inline Result<oracle::EncodedRows> oracle_codes(const Block& block, std::span<const double> mean) {
  const std::vector<double> rows = widened(std::span<const float>(block.rows));
  const std::vector<double> equaliser = widened(std::span<const Half>(block.equaliser));
  constexpr std::pair<ScaleRule, oracle::Rule> kRules[] = {
      {ScaleRule::plain, oracle::Rule::plain},
      {ScaleRule::matched, oracle::Rule::matched},
      {ScaleRule::least_squares, oracle::Rule::least_squares},
      {ScaleRule::unbiased, oracle::Rule::unbiased}};
  oracle::Rule rule = oracle::Rule::plain;
  for (const auto& [ours, theirs] : kRules) {
    if (ours == block.rule) rule = theirs;
  }
  return oracle::quantise_block({.rows = rows,
                                 .scheme = static_cast<std::uint8_t>(block.format.scheme()),
                                 .head_dim = block.head_dim,
                                 .equaliser = equaliser,
                                 .centred = block.format.is_centred(),
                                 .rule = rule,
                                 .mean = mean},
                                oracle::Tables::standard());
}

/// |e x| of a token: what float rounds relative to.
inline double equalised_norm(const Block& block, std::size_t token) {
  double sum = 0;
  for (std::size_t i = 0; i < block.head_dim; ++i) {
    const double e =
        block.equaliser.empty() ? 1.0 : static_cast<double>(to_float(block.equaliser[i]));
    const double x = static_cast<double>(block.rows[token * block.head_dim + i]) * e;
    sum += x * x;
  }
  return std::sqrt(sum);
}

/// The outcome is the oracle's; codes are its but for near ties, scales to a rounding of f16.
inline void check_against_oracle(const Block& block) {
  CAPTURE(std::string(name_of(block.format.scheme())));
  CAPTURE(block.head_dim);
  CAPTURE(static_cast<int>(block.rule));
  CAPTURE(std::string(name_of(block.row_type)));
  if (block.outcome == EncodeOutcome::does_not_fit) {
    CHECK(!oracle_codes(block, {}));
    bool is_untouched = true;
    for (const std::byte byte : block.bytes) is_untouched = is_untouched && byte == kUntouched;
    CHECK(is_untouched);
    return;
  }
  const oracle::BlockBytes bytes = {block.bytes, block.format.byte()};
  const auto stored = oracle::read_block(bytes, block.side == Side::value, block.head_dim);
  REQUIRE(stored);
  const auto truth =
      oracle_codes(block, block.format.is_centred() ? stored->mean : std::vector<double>());
  REQUIRE(truth);
  const double step = oracle::step_of(code_bits_of(block.format.scheme()), block.head_dim,
                                      oracle::Tables::standard());
  std::size_t n_wrong = 0;
  for (std::size_t token = 0; token < kPageTokens; ++token) {
    const double scale = truth->scale[token];
    const double rounding = 2e-6 * equalised_norm(block, token);
    const double tie = rounding / (scale * step) + 1e-4;
    bool is_same = true;  // a scale of 0 leaves codes without a meaning
    for (std::size_t i = 0; i < block.head_dim && scale != 0.0; ++i) {
      const std::size_t at = token * block.head_dim + i;
      if (stored->codes[at] == truth->codes[at]) continue;
      is_same = false;
      if (truth->margin[at] > tie) ++n_wrong;
    }
    // Another code at a tie is another direction, whose length the scale makes up for.
    const double allowed = scale * (is_same ? 6e-4 : 5e-2) + rounding;
    CHECK(std::abs(stored->scale[token] - scale) <= allowed);
  }
  CHECK(n_wrong == 0);
}

/// The stored mean is the oracle's to a rounding of f16, and zero where the oracle's is.
inline void check_mean(const Block& block) {
  const oracle::BlockBytes bytes = {block.bytes, block.format.byte()};
  const auto stored = oracle::read_block(bytes, block.side == Side::value, block.head_dim);
  REQUIRE(stored);
  const auto truth = oracle_codes(block, {});
  REQUIRE(truth);
  double norm = 0;
  for (std::size_t token = 0; token < kPageTokens; ++token) {
    norm = std::max(norm, equalised_norm(block, token));
  }
  bool is_near = true;
  for (std::size_t i = 0; i < block.head_dim; ++i) {
    const double error = std::abs(stored->mean[i] - truth->mean[i]);
    is_near = is_near && error <= std::abs(truth->mean[i]) * 1e-3 + 1e-6 * norm + 6e-8;
  }
  CHECK(is_near);
}

}  // namespace kvault::test
