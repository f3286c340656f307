#include <algorithm>
#include <cmath>
#include <limits>

#include "core/oracle/oracle.hpp"

namespace kvault::oracle {
namespace {

constexpr double kLargest = 65504.0;           // f16
constexpr double kSmallest = 1.0 / (1 << 14);  // normal f16

/// A code and how far the quantised number lies from the next code's region.
struct Choice {
  int code;
  double margin;
};

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double largest(std::span<const double> row) {
  double most = 0;
  for (const double entry : row) most = std::max(most, std::fabs(entry));
  return most;
}

/// The code whose value is nearest to `number`; the margin is half of what the second is further.
Choice nearest(double number, std::uint32_t bits, const Tables& tables) {
  if (bits == 8) {
    const double rounded = std::round(number);
    return {static_cast<int>(rounded), 0.5 - std::fabs(number - rounded)};
  }
  int best = 0;
  double first = std::numeric_limits<double>::infinity();
  double second = first;
  for (int code = 0; code < (1 << bits); ++code) {
    const double distance = std::fabs(number - value_of(code, bits, tables));
    if (distance < first) {
      second = first;
      first = distance;
      best = code;
    } else {
      second = std::min(second, distance);
    }
  }
  return {best, (second - first) / 2};
}

/// y = H S (e x), [128, head_dim].
std::vector<double> rotated(const QuantiseInput& input, const Rotation& rotation) {
  const std::size_t head_dim = input.head_dim;
  std::vector<double> all(kPageTokens * head_dim);
  for (std::size_t t = 0; t < kPageTokens; ++t) {
    const std::span<const double> given = input.rows.subspan(t * head_dim, head_dim);
    std::vector<double> x(given.begin(), given.end());
    for (std::size_t i = 0; i < input.equaliser.size(); ++i) x[i] *= input.equaliser[i];
    rotation.forward(x, std::span(all).subspan(t * head_dim, head_dim));
  }
  return all;
}

/// Whether subtracting `mean` lowers the sum over tokens of |r|^2 / |y|^2.
bool centring_helps(std::span<const double> y, std::span<const double> mean) {
  const std::size_t head_dim = mean.size();
  double with = 0;
  double without = 0;
  for (std::size_t t = 0; t < kPageTokens; ++t) {
    const std::span<const double> row = y.subspan(t * head_dim, head_dim);
    const double energy = dot(row, row);
    if (energy == 0) continue;
    double left = 0;
    for (std::size_t i = 0; i < head_dim; ++i) left += (row[i] - mean[i]) * (row[i] - mean[i]);
    with += left / energy;
    without += 1;
  }
  return with < without;
}

/// The mean over tokens rounded to f16, or zeros where it does not help.
Result<std::vector<double>> find_mean(std::span<const double> y, std::size_t head_dim) {
  std::vector<double> mean(head_dim);
  for (std::size_t t = 0; t < kPageTokens; ++t) {
    for (std::size_t i = 0; i < head_dim; ++i) mean[i] += y[t * head_dim + i] / kPageTokens;
  }
  if (largest(mean) > kLargest) {
    return fail(Errc::limit_exceeded, message("a mean of ", largest(mean), " does not fit f16"));
  }
  for (double& entry : mean) entry = from_f16(to_f16(entry));
  if (!centring_helps(y, mean)) std::fill(mean.begin(), mean.end(), 0.0);
  return mean;
}

/// The scale of residual r [head_dim] with quantised unit direction c [head_dim].
double scale_of(std::span<const double> r, std::span<const double> c, Rule rule) {
  switch (rule) {
    case Rule::matched:
      return std::sqrt(dot(r, r) / dot(c, c));
    case Rule::least_squares:
      return dot(r, c) / dot(c, c);
    case Rule::unbiased:
      return dot(r, r) / dot(r, c);
    default:
      return std::sqrt(dot(r, r));
  }
}

/// Quantises residual r [head_dim] of token t.
void quantise_row(std::span<const double> r, std::size_t t, std::uint32_t bits, Rule rule,
                  const Tables& tables, EncodedRows& rows) {
  const double size = bits == 8 ? largest(r) : std::sqrt(dot(r, r));
  if (size < kSmallest) return;
  const auto head_dim = static_cast<std::uint32_t>(r.size());
  const double step = step_of(bits, head_dim, tables);
  std::vector<double> direction(r.size());
  for (std::size_t i = 0; i < r.size(); ++i) {
    const Choice choice = nearest(r[i] / size / step, bits, tables);
    rows.codes[t * r.size() + i] = choice.code;
    rows.margin[t * r.size() + i] = choice.margin;
    direction[i] = step * value_of(choice.code, bits, tables);
  }
  const double scale = bits == 8 ? size : scale_of(r, direction, rule);
  rows.scale[t] = scale < kSmallest ? 0.0 : scale;
}

Result<> check(const QuantiseInput& input) {
  const std::size_t head_dim = input.head_dim;
  if (input.scheme < 16 || input.scheme > 19) {
    return fail(Errc::unknown_format, message("scheme ", input.scheme, " is not a coded one"));
  }
  if (input.rows.size() != kPageTokens * head_dim ||
      (!input.equaliser.empty() && input.equaliser.size() != head_dim) ||
      (!input.mean.empty() && input.mean.size() != head_dim)) {
    return fail(Errc::shape_mismatch,
                message("rows of ", input.rows.size(), ", an equaliser of ", input.equaliser.size(),
                        ", a mean of ", input.mean.size(), " for head_dim ", head_dim));
  }
  for (const double entry : input.rows) {
    if (!std::isfinite(entry)) return fail(Errc::not_finite, "a row holds NaN or infinity");
  }
  return {};
}

}  // namespace

Result<EncodedRows> quantise_block(const QuantiseInput& input, const Tables& tables) {
  KVAULT_CHECK(check(input));
  KVAULT_TRY(const Rotation rotation, Rotation::create(input.head_dim));
  KVAULT_TRY(const std::uint32_t bits, code_bits(input.scheme));
  const std::size_t head_dim = input.head_dim;
  const std::vector<double> y = rotated(input, rotation);
  EncodedRows rows;
  rows.codes.resize(y.size());
  rows.margin.resize(y.size());
  rows.scale.resize(kPageTokens);
  rows.mean.resize(head_dim);
  if (!input.mean.empty()) {
    rows.mean.assign(input.mean.begin(), input.mean.end());
  } else if (input.centred) {
    KVAULT_TRY(rows.mean, find_mean(y, head_dim));
  }
  std::vector<double> r(head_dim);
  for (std::size_t t = 0; t < kPageTokens; ++t) {
    for (std::size_t i = 0; i < head_dim; ++i) r[i] = y[t * head_dim + i] - rows.mean[i];
    quantise_row(r, t, bits, input.rule, tables, rows);
    if (rows.scale[t] > kLargest) {
      return fail(Errc::limit_exceeded,
                  message("a scale of ", rows.scale[t], " at token ", t, " does not fit f16"));
    }
  }
  return rows;
}

}  // namespace kvault::oracle
