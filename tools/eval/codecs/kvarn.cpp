#include "tools/eval/codecs/kvarn.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/base/half.hpp"
#include "tools/eval/codecs/affine.hpp"
#include "tools/eval/matrix.hpp"

namespace kvault::eval {
namespace {

constexpr std::size_t kTile = 128;
constexpr int kRounds = 8;

/// Scales [n] that divide the rows of a tile [n][dim] to mean squares of one; rows and columns
/// change places where `of_columns`.
void divide(std::span<float> tile, std::size_t dim, bool of_columns, std::vector<double>& scales) {
  std::vector<double> energy(scales.size());
  const auto owner = [dim, of_columns](std::size_t i) { return of_columns ? i % dim : i / dim; };
  for (std::size_t i = 0; i < tile.size(); ++i)
    energy[owner(i)] += double{tile[i]} * double{tile[i]};
  const double count = static_cast<double>(tile.size()) / static_cast<double>(scales.size());
  for (double& e : energy) e = std::max(std::sqrt(e / count), 1e-8);
  for (std::size_t i = 0; i < tile.size(); ++i) {
    tile[i] = static_cast<float>(double{tile[i]} / energy[owner(i)]);
  }
  for (std::size_t i = 0; i < scales.size(); ++i) scales[i] *= energy[i];
}

float as_half(double value) { return to_float(to_half(static_cast<float>(value))); }

void code_tile(std::span<float> tile, std::size_t dim, std::uint32_t bits) {
  std::vector<double> of_token(tile.size() / dim, 1.0);
  std::vector<double> of_channel(dim, 1.0);
  for (int round = 0; round < kRounds; ++round) {
    divide(tile, dim, true, of_channel);
    divide(tile, dim, false, of_token);
  }
  const std::vector<float> unit(tile.begin(), tile.end());
  const Affine steps(bits, Affine::Group::channels, 0);
  HeadRows rows;
  rows.head_dim = static_cast<std::uint32_t>(dim);
  rows.n_token = static_cast<std::uint32_t>(of_token.size());
  rows.rows = unit;
  steps.code(rows, tile);
  for (std::size_t i = 0; i < tile.size(); ++i) {
    tile[i] *= as_half(of_token[i / dim]) * as_half(of_channel[i % dim]);
  }
}

}  // namespace

/// Per token a scale folded into the step and the least number; per tile and channel a scale.
double Kvarn::bits_per_element(std::uint32_t head_dim) const {
  return bits_ + 32.0 / head_dim + 16.0 / kTile;
}

void Kvarn::code(const HeadRows& in, std::span<float> out) const {
  const std::size_t dim = in.head_dim;
  const RowMap rotation(sylvester_rotation(dim), sylvester_rotation(dim));
  std::vector<float> y(in.rows.size());
  rotation.forward(in.rows, y);
  for (std::size_t first = 0; first < in.n_token; first += kTile) {
    const std::size_t n = std::min<std::size_t>(kTile, in.n_token - first);
    code_tile(std::span(y).subspan(first * dim, n * dim), dim, bits_);
  }
  rotation.inverse(y, out);
}

}  // namespace kvault::eval
