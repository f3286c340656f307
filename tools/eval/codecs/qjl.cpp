#include "tools/eval/codecs/qjl.hpp"

#include <cmath>
#include <cstddef>
#include <numbers>

#include "core/base/half.hpp"
#include "tools/model/matmul.hpp"
#include "tools/model/random.hpp"

namespace kvault::eval {

void Qjl::code(const HeadRows& in, std::span<float> out) const {
  base_->code(in, out);
  const std::size_t dim = in.head_dim;
  tools::Random random(seed_);
  std::vector<float> sketch(dim * dim);
  for (float& entry : sketch) entry = static_cast<float>(random.normal());
  std::vector<float> transposed(dim * dim);
  for (std::size_t i = 0; i < dim * dim; ++i) {
    transposed[i % dim * dim + i / dim] = sketch[i];
  }
  const tools::MatmulShape shape{.n = in.n_token, .in = dim, .out = dim};
  std::vector<float> residual(in.rows.size());
  for (std::size_t i = 0; i < residual.size(); ++i) residual[i] = in.rows[i] - out[i];
  std::vector<float> signs(residual.size());
  tools::matmul(shape, residual, sketch, signs);
  const double factor = std::sqrt(std::numbers::pi / 2) / static_cast<double>(dim);
  for (std::size_t t = 0; t < in.n_token; ++t) {
    double energy = 0;
    for (std::size_t i = 0; i < dim; ++i) {
      energy += double{residual[t * dim + i]} * double{residual[t * dim + i]};
    }
    const double norm = double{to_float(to_half(static_cast<float>(std::sqrt(energy))))};
    for (std::size_t i = 0; i < dim; ++i) {
      const double sign = signs[t * dim + i] >= 0 ? 1 : -1;
      signs[t * dim + i] = static_cast<float>(sign * norm * factor);
    }
  }
  tools::matmul(shape, signs, transposed, residual);
  for (std::size_t i = 0; i < residual.size(); ++i) out[i] += residual[i];
}

}  // namespace kvault::eval
