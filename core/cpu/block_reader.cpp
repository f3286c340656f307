#include "core/cpu/block_reader.hpp"

#include <algorithm>
#include <cstring>

#include "core/base/assert.hpp"
#include "core/base/half.hpp"
#include "core/codec/codebook.hpp"
#include "core/codec/pack.hpp"
#include "core/cpu/tile_math.hpp"

namespace kvault::cpu {
namespace {

constexpr std::uint32_t kQuad = KVAULT_QUAD_N_TOKEN;

/// target [n_column][n_row] = source [n_row][n_column] transposed, in squares that stay in L1.
void transpose(const float* source, std::size_t n_row, std::size_t n_column, float* target) {
  constexpr std::size_t kSquare = 16;
  for (std::size_t row = 0; row < n_row; row += kSquare) {
    for (std::size_t column = 0; column < n_column; column += kSquare) {
      for (std::size_t j = 0; j < kSquare; ++j) {
        for (std::size_t i = 0; i < kSquare; ++i) {
          target[(column + j) * n_row + row + i] = source[(row + i) * n_column + column + j];
        }
      }
    }
  }
}

void widen_raw(std::span<const std::byte> bytes, RowType type, std::size_t n, float* target) {
  if (type == RowType::f32) {
    std::memcpy(target, bytes.data(), n * sizeof(float));
  } else if (type == RowType::f16) {
    widen_halves(reinterpret_cast<const Half*>(bytes.data()), target, n);
  } else {
    const auto* const source = reinterpret_cast<const BFloat16*>(bytes.data());
    for (std::size_t i = 0; i < n; ++i) target[i] = to_float(source[i]);
  }
}

}  // namespace

BlockTile::BlockTile(std::uint32_t head_dim_max)
    : values(std::size_t{kPageTokens} * padded_head_dim(head_dim_max)),
      factor(kPageTokens),
      mean(padded_head_dim(head_dim_max)) {}

BlockReader::BlockReader(std::uint32_t head_dim_max)
    : codes_(std::size_t{kQuad} * padded_head_dim(head_dim_max)),
      floats_(std::size_t{kQuad} * padded_head_dim(head_dim_max)),
      rows_(std::size_t{kPageTokens} * padded_head_dim(head_dim_max)) {}

void BlockReader::read_key(std::span<const std::byte> block, BlockFormat format,
                           std::uint32_t head_dim, std::uint32_t n_valid, BlockTile& tile) {
  const std::uint32_t stride = padded_head_dim(head_dim);
  read_factors(block, format, head_dim, n_valid, tile);
  if (format.is_raw()) {
    read_rows(block, format, head_dim, n_valid, stride, rows_.data());
  } else {
    const std::size_t row_bytes = std::size_t{stride} * code_bits_of(format.scheme()) / 8;
    for (std::uint32_t token = 0; token < n_valid; ++token) {
      widen_codes(format.scheme(), block.subspan(token * row_bytes, row_bytes), stride,
                  rows_.data() + std::size_t{token} * stride);
    }
  }
  std::fill(rows_.data() + std::size_t{n_valid} * stride,
            rows_.data() + std::size_t{kPageTokens} * stride, 0.0F);
  transpose(rows_.data(), kPageTokens, stride, tile.values.data());
}

void BlockReader::read_value(std::span<const std::byte> block, BlockFormat format,
                             std::uint32_t head_dim, std::uint32_t n_valid, BlockTile& tile) {
  const std::uint32_t stride = padded_head_dim(head_dim);
  float* const values = tile.values.data();
  read_factors(block, format, head_dim, n_valid, tile);
  if (format.is_raw()) {
    read_rows(block, format, head_dim, n_valid, stride, values);
  } else {
    const std::size_t quad_bytes = std::size_t{stride} * kQuad * code_bits_of(format.scheme()) / 8;
    for (std::uint32_t token = 0; token < n_valid; token += kQuad) {
      widen_codes(format.scheme(), block.subspan(token / kQuad * quad_bytes, quad_bytes),
                  std::size_t{stride} * kQuad, floats_.data());
      for (std::uint32_t j = 0; j < kQuad; ++j) {
        float* const row = values + std::size_t{token + j} * stride;
        for (std::uint32_t i = 0; i < stride; ++i) row[i] = floats_.data()[i * kQuad + j];
      }
    }
  }
  std::fill(values + std::size_t{n_valid} * stride, values + std::size_t{kPageTokens} * stride,
            0.0F);
}

/// Raw rows [n_valid][head_dim] to floats [n_valid][stride].
void BlockReader::read_rows(std::span<const std::byte> block, BlockFormat format,
                            std::uint32_t head_dim, std::uint32_t n_valid, std::uint32_t stride,
                            float* rows) {
  const std::size_t row_bytes = std::size_t{head_dim} * size_bytes_of(format.row_type());
  KVAULT_ASSERT(block.size() >= n_valid * row_bytes);
  for (std::uint32_t token = 0; token < n_valid; ++token) {
    float* const row = rows + std::size_t{token} * stride;
    widen_raw(block.subspan(token * row_bytes, row_bytes), format.row_type(), head_dim, row);
    std::fill(row + head_dim, row + stride, 0.0F);
  }
}

void BlockReader::read_factors(std::span<const std::byte> block, BlockFormat format,
                               std::uint32_t head_dim, std::uint32_t n_valid, BlockTile& tile) {
  tile.stride_dim = padded_head_dim(head_dim);
  tile.is_rotated = !format.is_raw();
  tile.has_mean = format.is_centred();
  if (format.is_raw()) {
    std::fill_n(tile.factor.data(), kPageTokens, 1.0F);
    return;
  }
  const BlockLayout layout = BlockLayout::of(format, head_dim);
  KVAULT_ASSERT(block.size() == layout.size_bytes);
  widen_halves(reinterpret_cast<const Half*>(block.data() + layout.scale_offset_bytes),
               tile.factor.data(), kPageTokens);
  scale_row(tile.factor.data(), kPageTokens, Codebook::step(format.scheme(), head_dim));
  std::fill(tile.factor.data() + n_valid, tile.factor.data() + kPageTokens, 0.0F);
  if (tile.has_mean) {
    widen_halves(reinterpret_cast<const Half*>(block.data() + layout.mean_offset_bytes),
                 tile.mean.data(), tile.stride_dim);
  }
}

void BlockReader::widen_codes(Scheme scheme, std::span<const std::byte> packed, std::size_t n,
                              float* target) {
  if (scheme == Scheme::q8) {
    widen_bytes(reinterpret_cast<const std::int8_t*>(packed.data()), target, n);
    return;
  }
  const Codebook book = Codebook::of(scheme);
  float levels[16];
  for (std::size_t code = 0; code < book.levels.size(); ++code) {
    levels[code] = static_cast<float>(book.levels[code]) - book.centre;
  }
  const std::span<std::uint8_t> codes(codes_.data(), n);
  unpack_row(scheme, packed, codes);
  for (std::size_t i = 0; i < n; ++i) target[i] = levels[codes[i] & 0xFU];
}

}  // namespace kvault::cpu
