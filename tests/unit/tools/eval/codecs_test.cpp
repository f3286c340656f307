#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "core/base/half.hpp"
#include "core/oracle/oracle.hpp"
#include "tools/eval/codecs/code_shelf.hpp"
#include "tools/eval/codecs/head_transform.hpp"
#include "tools/eval/codecs/qjl.hpp"
#include "tools/eval/codecs/turbo_codec.hpp"
#include "tools/eval/scheme_spec.hpp"
#include "tools/model/random.hpp"

namespace kvault::eval {
namespace {

std::vector<float> gaussian(std::size_t n, std::uint64_t seed) {
  tools::Random random(seed);
  std::vector<float> numbers(n);
  for (float& x : numbers) x = to_float(to_half(static_cast<float>(random.normal())));
  return numbers;
}

/// Squared error over squared rows of a codec on Gaussian rows.
double error_of(const SideCodec& codec, Side side, std::uint32_t dim, std::uint32_t n_token) {
  const std::vector<float> rows = gaussian(std::size_t{n_token} * dim, 77 + dim);
  std::vector<float> out(rows.size());
  HeadRows in;
  in.side = side;
  in.head_dim = dim;
  in.n_token = n_token;
  in.rows = rows;
  codec.code(in, out);
  double miss = 0;
  double energy = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    miss += (double{rows[i]} - double{out[i]}) * (double{rows[i]} - double{out[i]});
    energy += double{rows[i]} * double{rows[i]};
  }
  return miss / energy;
}

double key_error(const std::string& scheme, std::uint32_t dim) {
  CodeShelf shelf;
  const auto made = scheme_of(scheme, dim, shelf);
  REQUIRE(made);
  return error_of(*made->key, Side::key, dim, 1024);
}

double value_error(const std::string& scheme, std::uint32_t dim) {
  CodeShelf shelf;
  const auto made = scheme_of(scheme, dim, shelf);
  REQUIRE(made);
  return error_of(*made->value, Side::value, dim, 1024);
}

/// Relative L2 errors of llama.cpp's types on Gaussian vectors of 128, as measured with its own
/// code.
TEST_CASE("lab rivals: llama.cpp's types err on Gaussian rows as they were measured to") {
  CHECK(std::sqrt(key_error("q8_0", 128)) == doctest::Approx(0.0054).epsilon(0.03));
  CHECK(std::sqrt(key_error("q4_0", 128)) == doctest::Approx(0.0861).epsilon(0.02));
  CHECK(std::sqrt(key_error("q4_1", 128)) == doctest::Approx(0.0784).epsilon(0.02));
  // A rotation changes nothing for Gaussian rows.
  CHECK(std::sqrt(value_error("rotated-q4_0", 128)) == doctest::Approx(0.0861).epsilon(0.02));
}

/// Mean squared errors of the exact codebooks at 128 dimensions, TurboQuant's plain norm.
TEST_CASE("lab rivals: TurboQuant's, vLLM's and ExecuTorch's errors are the codebooks'") {
  CHECK(key_error("tq4-plain,code=sphere", 128) == doctest::Approx(0.00931).epsilon(0.02));
  CHECK(key_error("tq3-plain,code=sphere", 128) == doctest::Approx(0.03397).epsilon(0.02));
  CHECK(key_error("tq2-plain,code=sphere", 128) == doctest::Approx(0.11600).epsilon(0.02));
  CHECK(key_error("executorch-tq4", 128) == doctest::Approx(0.0095).epsilon(0.04));
  // Norm correction lowers the error a little at 3 and 4 bits.
  CHECK(key_error("vllm-4bit", 128) == doctest::Approx(0.0092).epsilon(0.03));
  CHECK(key_error("vllm-3bit", 128) == doctest::Approx(0.0338).epsilon(0.03));
}

/// n equal steps between the extremes of m Gaussian numbers: E(range)^2 / (12 (n - 1)^2), where
/// E(range) of 128 is 5.22 (its square 27.6), of 32 4.14 (17.6).
TEST_CASE("lab rivals: equal steps between extremes err by a twelfth of a step squared") {
  CHECK(value_error("vllm-4bit", 128) == doctest::Approx(27.6 / (12 * 225)).epsilon(0.03));
  CHECK(value_error("vllm-3bit", 128) == doctest::Approx(27.6 / (12 * 49)).epsilon(0.05));
  CHECK(key_error("kivi-2", 128) == doctest::Approx(17.6 / (12 * 9)).epsilon(0.15));
  CHECK(value_error("kivi-4", 128) == doctest::Approx(17.6 / (12 * 225)).epsilon(0.03));
  CHECK(key_error("kvarn-k4v4", 128) == doctest::Approx(27.6 / (12 * 225)).epsilon(0.06));
}

TEST_CASE("lab rivals: bits are those of their formats") {
  CodeShelf shelf;
  const auto bits = [&shelf](const char* name, bool is_key) {
    const auto scheme = scheme_of(name, 128, shelf);
    REQUIRE(scheme);
    return (is_key ? scheme->key : scheme->value)->bits_per_element(128);
  };
  CHECK(bits("q8_0", true) == 8.5);
  CHECK(bits("q4_0", true) == 4.5);
  CHECK(bits("vllm-4bit", true) * 128 / 8 == 66);  // bytes of a row
  CHECK(bits("vllm-4bit", false) * 128 / 8 == 68);
  CHECK(bits("vllm-3bit", true) * 128 / 8 == 50);
  CHECK(bits("vllm-3bit", false) * 128 / 8 == 52);
  CHECK(bits("vllm-k8v4", true) * 128 / 8 == 128);
  CHECK(bits("executorch-tq4", true) * 128 / 8 == 66);
  CHECK(bits("k4v4", true) == 4.25);
  CHECK(bits("k4v4", false) == 4.125);
}

TEST_CASE("lab codec: with the product's options it gives the oracle's rows") {
  for (const std::uint32_t dim : {64U, 128U}) {
    for (const std::uint32_t bits : {2U, 3U, 4U, 8U}) {
      std::vector<float> rows = gaussian(128 * dim, dim + bits);
      for (std::size_t i = 0; i < rows.size(); ++i) rows[i] += i % dim < 3 ? 4.0F : 0.0F;
      TurboOptions options;
      options.bits = bits;
      options.code = bits == 8 ? CodeKind::q8 : CodeKind::lloyd;
      options.mean = MeanKind::f16;
      CodeShelf shelf;
      const TurboCodec codec(options, shelf.code_of(options, dim));
      HeadRows in;
      in.head_dim = dim;
      in.n_token = 128;
      in.rows = rows;
      std::vector<float> out(rows.size());
      codec.code(in, out);
      const std::vector<double> exact(rows.begin(), rows.end());
      const oracle::Tables tables = oracle::Tables::standard();
      const auto scheme = static_cast<std::uint8_t>(bits == 8 ? 16 : 21 - bits);
      const auto coded = oracle::quantise_block({.rows = exact,
                                                 .scheme = scheme,
                                                 .head_dim = dim,
                                                 .equaliser = {},
                                                 .centred = true,
                                                 .rule = oracle::Rule::unbiased,
                                                 .mean = {}},
                                                tables);
      REQUIRE(coded);
      const auto rotation = oracle::Rotation::create(dim);
      REQUIRE(rotation);
      const double step = oracle::step_of(bits, dim, tables);
      std::vector<double> y(dim);
      std::vector<double> x(dim);
      double miss = 0;
      double energy = 0;
      for (std::size_t t = 0; t < 128; ++t) {
        for (std::size_t i = 0; i < dim; ++i) {
          y[i] = coded->mean[i] +
                 coded->scale[t] * step * oracle::value_of(coded->codes[t * dim + i], bits, tables);
        }
        rotation->inverse(y, x);
        for (std::size_t i = 0; i < dim; ++i) {
          miss += (x[i] - double{out[t * dim + i]}) * (x[i] - double{out[t * dim + i]});
          energy += x[i] * x[i];
        }
      }
      CAPTURE(dim);
      CAPTURE(bits);
      // A code on a tie may fall either way, and the oracle does not round scales to f16.
      CHECK(std::sqrt(miss / energy) < (bits == 8 ? 3e-4 : 2e-3));
    }
  }
}

TEST_CASE("lab codec: QJL's residual is unbiased, and its variance is the paper's identity") {
  constexpr std::uint32_t kDim = 64;
  constexpr std::uint32_t kRows = 256;
  const std::vector<float> rows = gaussian(std::size_t{kRows} * kDim, 5);
  const std::vector<float> queries = gaussian(std::size_t{kRows} * kDim, 6);
  HeadRows in;
  in.head_dim = kDim;
  in.n_token = kRows;
  in.rows = rows;
  for (const double bits : {1.0, 2.0}) {
    TurboOptions options;
    options.bits = bits;
    options.code = CodeKind::sphere;
    options.rotation = RotationKind::haar;
    options.scale = ScaleRule::plain;
    options.scale_type = ScaleType::f32;
    CodeShelf shelf;
    const auto base = std::make_shared<TurboCodec>(options, shelf.code_of(options, kDim));
    std::vector<float> coded(rows.size());
    base->code(in, coded);
    double mse = 0;  // of the base, relative
    double energy = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      mse += (double{rows[i]} - double{coded[i]}) * (double{rows[i]} - double{coded[i]});
      energy += double{rows[i]} * double{rows[i]};
    }
    // <q, x~> - <q, x> over |q||x|, over rows and sketches.
    double bias = 0;
    double square = 0;
    double count = 0;
    std::vector<float> out(rows.size());
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
      Qjl(base, seed).code(in, out);
      for (std::size_t t = 0; t < kRows; ++t) {
        double miss = 0;
        double qq = 0;
        double xx = 0;
        for (std::size_t i = 0; i < kDim; ++i) {
          const double q = double{queries[t * kDim + i]};
          const double x = double{rows[t * kDim + i]};
          miss += q * (double{out[t * kDim + i]} - x);
          qq += q * q;
          xx += x * x;
        }
        bias += miss / std::sqrt(qq * xx);
        square += miss * miss / (qq * xx);
        count += 1;
      }
    }
    bias /= count;
    square /= count;
    CAPTURE(bits);
    CHECK(std::abs(bias) < 4 * std::sqrt(square / count));
    // D_prod(b + 1) = (pi / 2d) D_mse(b), less <q, r>^2 / d: a 64th part here.
    const double bound = 1.5707963 / kDim * mse / energy;
    CHECK(square == doctest::Approx(bound).epsilon(0.05));
  }
}

TEST_CASE("lab codec: bits go where they lower the error most, and are all spent") {
  const std::vector<double> variances = {16, 4, 1, 0.0001};
  const std::vector<std::uint8_t> bits = allocate_bits(variances, scalar_errors(), 8);
  std::uint32_t total = 0;
  for (const std::uint8_t b : bits) total += b;
  CHECK(total == 8);
  CHECK(bits[0] > bits[1]);
  CHECK(bits[1] > bits[2]);
  CHECK(bits[3] == 0);
}

TEST_CASE("lab schemes: a name or an option that does not exist is refused by name") {
  CodeShelf shelf;
  for (const char* const bad :
       {"k9v9", "", "k4v4,", "k4v4,mean", "k4v4,mean=f32", "k4v4,bits=9", "k4v4,bits=2.5",
        "q4_0,bits=3", "tq3,loud=4,loud-bits=10", "tq3,loud=4,loud-bits=2.5",
        "tq3,loud=10,rotation=unsigned", "k4v4,page=0", "k4v4,loud=64", "k4v4,x=1", "trellis-q4_0",
        "k4v4,bits=nan"}) {
    CAPTURE(bad);
    const auto scheme = scheme_of(bad, 64, shelf);
    REQUIRE(!scheme);
    CHECK(scheme.error().code == Errc::invalid_argument);
    CHECK(!scheme.error().message.empty());
  }
}

}  // namespace
}  // namespace kvault::eval
