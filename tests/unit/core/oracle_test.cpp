#include "core/oracle/oracle.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

namespace {

using namespace kvault;
using namespace kvault::oracle;

constexpr std::uint32_t kHeadDims[] = {32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 512};
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using Bytes = std::vector<std::byte>;

template <class T>
void append(Bytes& bytes, T number) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    bytes.push_back(static_cast<std::byte>((number >> (8 * i)) & 0xFF));
  }
}

void pad(Bytes& bytes) { bytes.resize((bytes.size() + 127) / 128 * 128); }

/// pack of docs/format.md: codes [n] to bytes [n * bits / 8].
Bytes pack(const std::vector<int>& codes, std::uint32_t bits) {
  Bytes bytes;
  if (bits == 8) {
    for (const int code : codes) bytes.push_back(static_cast<std::byte>(code & 0xFF));
    return bytes;
  }
  std::vector<std::uint32_t> w(codes.size() / 8);
  for (std::size_t k = 0; k < codes.size(); ++k) {
    w[k / 8] += static_cast<std::uint32_t>(codes[k]) << (4 * (k % 8));
  }
  if (bits == 4) {
    for (const std::uint32_t word : w) append(bytes, word);
  } else if (bits == 2) {
    for (std::size_t k = 0; k < w.size(); k += 2) append(bytes, w[k] | (w[k + 1] << 2));
  } else {
    for (std::size_t k = 0; k < w.size(); k += 4) {
      for (std::size_t j = 0; j < 3; ++j) {
        append(bytes, (w[k + j] & 0x77777777U) | (((w[k + 3] >> j) & 0x11111111U) << 3));
      }
    }
  }
  return bytes;
}

/// A coded block of codes, scales and means.
Bytes pack_block(const EncodedRows& rows, std::uint8_t format, bool is_value, std::size_t dim) {
  const std::uint32_t bits = code_bits(format).value();
  const std::size_t wide = (dim + 31) / 32 * 32;
  std::vector<std::vector<int>> packed(is_value ? 32 : 128);
  for (std::size_t t = 0; t < 128; ++t) {
    std::vector<int>& row = packed[is_value ? t / 4 : t];
    row.resize(is_value ? 4 * wide : wide);
    for (std::size_t i = 0; i < dim; ++i) {
      row[is_value ? 4 * i + t % 4 : i] = rows.codes[t * dim + i];
    }
  }
  Bytes bytes;
  for (const std::vector<int>& row : packed) {
    const Bytes part = pack(row, bits);
    bytes.insert(bytes.end(), part.begin(), part.end());
  }
  pad(bytes);
  for (const double scale : rows.scale) append(bytes, to_f16(scale));
  if (format >= 128) {
    for (const double mean : rows.mean) append(bytes, to_f16(mean));
    bytes.resize(bytes.size() + 2 * (wide - dim));
    pad(bytes);
  }
  return bytes;
}

/// A raw f32 block of rows [128, dim].
template <class T>
Bytes raw_block(const std::vector<T>& rows) {
  Bytes bytes;
  for (const T entry : rows) append(bytes, std::bit_cast<std::uint32_t>(static_cast<float>(entry)));
  return bytes;
}

std::vector<double> gaussian(std::size_t n, std::uint32_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> draw;
  std::vector<double> numbers(n);
  for (double& number : numbers) number = draw(engine);
  return numbers;
}

double squared_distance(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

/// The mean over z of N(0,1) of the squared distance to the nearest value.
double gaussian_error(std::uint32_t bits) {
  const Tables tables = Tables::standard();
  const double step = step_of(bits, 1, tables);
  constexpr double kDelta = 1e-3;
  double sum = 0;
  for (double z = -9; z < 9; z += kDelta) {
    double least = kInfinity;
    for (int code = 0; code < (1 << bits); ++code) {
      const double error = z - step * value_of(code, bits, tables);
      least = std::min(least, error * error);
    }
    sum += least * std::exp(-z * z / 2) / std::sqrt(2 * 3.14159265358979323846) * kDelta;
  }
  return sum;
}

/// y = H S x of x = [1, 2, ..., D] / D: y[0..3] and the sum of y[i] * (i + 1). Written by
/// tools/format_reader.py rotation.
struct Golden {
  std::uint32_t head_dim;
  std::array<double, 4> first;
  double checksum;
};

constexpr Golden kGolden[] = {
    {32, {-0.342504847137, 0.320407760225, 0.342504847137, -0.0552427172802}, -28.5494362904},
    {48, {-0.258604808075, 0.102239110169, 0.210492285642, -0.102239110169}, -60.2609343467},
    {64, {-1.3125, -0.15625, 0.3515625, 0.1328125}, -84.1875},
    {80, {-0.763058197322, 0.902812445916, 0.455598850416, 0.287893752103}, -62.1179684149},
    {96, {-0.746328906004, 0.886664255851, 0.163724574821, 0.435890101797}, -21.1098386861},
    {112, {-0.774489701389, 0.818360577721, -0.055682266113, 0.565259368116}, 114.233012601},
    {128, {-0.458514553426, 0.839689302659, 0.132582521472, 0.591097074898}, -240.548888125},
    {160, {0.54450468461, 0.615655931964, 0.0998093886491, 0.740170614833}, 334.600599222},
    {192, {-0.00451054897804, 0.0826933979308, -0.0300703265203, -0.0872039469088}, 22.0235071435},
    {256, {-0.31787109375, -0.25537109375, -0.54150390625, -0.18994140625}, 349.90625},
    {512, {-0.524287913687, -0.386871654453, 0.379966314793, -0.206297022343}, -1200.73360572},
};

/// One kv head with raw f32 rows of 32 for the hand-computed cases: one page.
struct TinyAttend {
  std::vector<float> keys = std::vector<float>(128 * 32, kNan);
  std::vector<float> values = std::vector<float>(128 * 32, kNan);
  std::vector<float> q;
  Bytes key_bytes;
  Bytes value_bytes;
  std::vector<BlockBytes> key_blocks;
  std::vector<BlockBytes> value_blocks;
  AttendInput input;

  void token(std::size_t t, float key0, float value0) {
    for (std::size_t i = 0; i < 32; ++i) keys[t * 32 + i] = values[t * 32 + i] = 0;
    keys[t * 32] = key0;
    values[t * 32] = value0;
  }

  AttendOutput run(std::uint32_t n_q, std::uint32_t n_head, std::vector<float> first_entries) {
    q.assign(std::size_t{n_q} * n_head * 32, 0);
    for (std::size_t i = 0; i < first_entries.size(); ++i) q[32 * i] = first_entries[i];
    key_bytes = raw_block(keys);
    value_bytes = raw_block(values);
    key_blocks = {{key_bytes, 3}};
    value_blocks = {{value_bytes, 3}};
    input.n_head = n_head;
    input.n_kv_head = 1;
    input.key_head_dim = input.value_head_dim = 32;
    input.n_q = n_q;
    input.q = q;
    input.key_blocks = key_blocks;
    input.value_blocks = value_blocks;
    return attend(input, Tables::standard()).value();
  }
};

}  // namespace

TEST_CASE("oracle: H is orthonormal, and symmetric only where it should be") {
  for (const std::uint32_t dim : kHeadDims) {
    CAPTURE(dim);
    const std::vector<double> h = hadamard(dim);
    REQUIRE(h.size() == std::size_t{dim} * dim);
    double worst = 0;
    bool symmetric = true;
    for (std::size_t a = 0; a < dim; ++a) {
      for (std::size_t b = 0; b <= a; ++b) {
        double product = 0;
        for (std::size_t i = 0; i < dim; ++i) product += h[a * dim + i] * h[b * dim + i];
        worst = std::max(worst, std::fabs(product - (a == b ? 1.0 : 0.0)));
        symmetric = symmetric && h[a * dim + b] == h[b * dim + a];
      }
    }
    CHECK(worst < 1e-12);
    const bool paley_one = dim == 48 || dim == 96 || dim == 192 || dim == 80 || dim == 160;
    CHECK(symmetric != paley_one);
  }
  CHECK(hadamard(40).empty());
  CHECK(hadamard(0).empty());
  CHECK(Rotation::create(576).error().code == Errc::unsupported);
}

TEST_CASE("oracle: the rotation meets the golden vectors of the Python reader") {
  for (const Golden& golden : kGolden) {
    CAPTURE(golden.head_dim);
    const Rotation rotation = Rotation::create(golden.head_dim).value();
    std::vector<double> x(golden.head_dim);
    std::vector<double> y(golden.head_dim);
    std::vector<double> back(golden.head_dim);
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<double>(i + 1) / golden.head_dim;
    }
    rotation.forward(x, y);
    double checksum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) checksum += y[i] * static_cast<double>(i + 1);
    for (std::size_t i = 0; i < 4; ++i) CHECK(std::fabs(y[i] - golden.first[i]) < 1e-11);
    CHECK(std::fabs(checksum - golden.checksum) < 1e-11 * 1e3);
    rotation.inverse(y, back);
    CHECK(squared_distance(x, back) < 1e-24);
  }
}

TEST_CASE("oracle: the tables are the mirrored integers, with the errors format.md states") {
  const Tables tables = Tables::standard();
  const std::vector<int> halves[] = {{19, 63}, {7, 22, 39, 63}, {3, 9, 15, 22, 29, 37, 48, 63}};
  const double steps[] = {.023747, .033882, .042764};
  for (std::uint32_t bits = 2; bits <= 4; ++bits) {
    const std::vector<int>& half = halves[bits - 2];
    for (int k = 0; k < static_cast<int>(half.size()); ++k) {
      const double value = half[static_cast<std::size_t>(k)] + 0.5;
      CHECK(value_of((1 << (bits - 1)) + k, bits, tables) == value);
      CHECK(value_of((1 << (bits - 1)) - 1 - k, bits, tables) == -value);
    }
    CHECK(step_of(bits, 64, tables) == doctest::Approx(steps[bits - 2] / 8).epsilon(1e-14));
  }
  CHECK(gaussian_error(4) == doctest::Approx(0.009594).epsilon(1e-3));
  CHECK(gaussian_error(3) == doctest::Approx(0.034576).epsilon(1e-3));
  CHECK(gaussian_error(2) == doctest::Approx(0.117547).epsilon(1e-3));
}

TEST_CASE("oracle: half precision") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const double number = from_f16(half);
    if (std::isnan(number)) continue;
    if (to_f16(number) != half) FAIL_CHECK("f16 bits " << bits << " do not come back");
  }
  CHECK(from_f16(0x3C00) == 1.0);
  CHECK(from_f16(0x0001) == std::ldexp(1.0, -24));
  CHECK(std::isnan(from_f16(to_f16(kNan))));
  CHECK(to_f16(1 + std::ldexp(1.0, -11)) == 0x3C00);  // a tie goes to the even side
  CHECK(to_f16(1 + std::ldexp(3.0, -11)) == 0x3C02);
  CHECK(to_f16(1 + std::ldexp(1.0, -11) + std::ldexp(1.0, -40)) == 0x3C01);  // rounded once
  CHECK(to_f16(65519.9) == 0x7BFF);
  CHECK(to_f16(-65520.0) == 0xFC00);
  CHECK(from_bf16(0xBFC0) == -1.5);
}

TEST_CASE("oracle: unpack undoes a packer written by hand") {
  std::mt19937 engine(7);
  for (const std::uint32_t bits : {2U, 3U, 4U, 8U}) {
    for (const std::size_t n : {32U, 128U, 512U}) {
      std::vector<int> codes(n);
      for (int& code : codes) code = static_cast<int>(engine() % (1U << bits));
      if (bits == 8) {
        for (int& code : codes) code -= 128;
      }
      const Bytes packed = pack(codes, bits);
      CHECK(packed.size() == n * bits / 8);
      CHECK(unpack(packed, bits, n) == codes);
    }
  }
}

TEST_CASE("oracle: a centred K block made by hand") {
  Bytes bytes(2048 + 256 + 128);
  bytes[5 * 16 + 1] = std::byte{0xF0};        // token 5, dimension 3: code 15
  bytes[2048 + 2 * 5 + 1] = std::byte{0x3C};  // scale of token 5: 1
  bytes[2304 + 2 * 2 + 1] = std::byte{0x40};  // mean of dimension 2: 2
  CHECK(block_size(145, 32).value() == bytes.size());
  std::vector<double> equaliser(32, 1.0);
  equaliser[7] = 4;
  const std::vector<double> rows =
      decode_block({bytes, 145}, false, 32, equaliser, Tables::standard()).value();
  constexpr std::uint64_t kSigns = 0xff5ed3c21f8e6e8eU;  // the first output of SplitMix64
  for (const std::size_t token : {4U, 5U}) {
    for (unsigned j = 0; j < 32; ++j) {
      double sum = 0;
      for (unsigned i = 0; i < 32; ++i) {
        double y = i == 2 ? 2.0 : 0.0;
        if (token == 5) y += (i == 3 ? 63.5 : -63.5) * 0.042764 / std::sqrt(32.0);
        sum += (std::popcount(i & j) % 2 == 0 ? y : -y) / std::sqrt(32.0);
      }
      if (((kSigns >> j) & 1U) != 0) sum = -sum;
      if (j == 7) sum /= 4;
      CHECK(std::fabs(rows[token * 32 + j] - sum) < 1e-14);
    }
  }
  Tables wrong = Tables::standard();
  wrong.t4[15] = 120;
  const std::vector<double> other = decode_block({bytes, 145}, false, 32, equaliser, wrong).value();
  CHECK(squared_distance(rows, other) > 1e-4);
}

TEST_CASE("oracle: V codes lie in quads of tokens") {
  Bytes bytes(128 * 32 * 3 / 8 + 256);
  bytes[48 + 15] = std::byte{0x05};           // token 6, dimension 9: word 4 is P_0 of group 1
  bytes[48 + 43] = std::byte{0x80};           // token 7, dimension 31: word 15, bit 1 in P_1
  bytes[48 + 47] = std::byte{0x80};           // ... and bit 2 in P_2 of group 3
  bytes[1536 + 2 * 6 + 1] = std::byte{0x38};  // scale of token 6: 0.5
  const EncodedRows rows = read_block({bytes, 18}, true, 32).value();
  for (std::size_t k = 0; k < rows.codes.size(); ++k) {
    int expected = 0;
    if (k == 6 * 32 + 9) expected = 5;
    if (k == 7 * 32 + 31) expected = 6;
    if (rows.codes[k] != expected) FAIL_CHECK("code " << k << " is " << rows.codes[k]);
  }
  CHECK(rows.scale[6] == 0.5);
  CHECK(rows.scale[7] == 0);
}

TEST_CASE("oracle: raw blocks are converted, neither rotated nor equalised") {
  Bytes f16(128 * 40 * 2);
  f16[2 * 41 + 1] = std::byte{0xC0};
  const std::vector<double> equaliser(40, 2.0);
  const Tables tables = Tables::standard();
  CHECK(decode_block({f16, 1}, false, 40, equaliser, tables).value()[41] == -2);
  CHECK(decode_block({f16, 2}, true, 40, {}, tables).value()[41] == -2);
  std::vector<float> rows(128 * 40);
  rows[77] = 0.1F;
  const Bytes f32 = raw_block(rows);
  CHECK(decode_block({f32, 3}, true, 40, {}, tables).value()[77] == static_cast<double>(0.1F));
}

TEST_CASE("oracle: what format.md does not name is refused") {
  const Tables tables = Tables::standard();
  int known = 0;
  for (unsigned format = 0; format < 256; ++format) {
    const auto bits = code_bits(static_cast<std::uint8_t>(format));
    known += bits.has_value() ? 1 : 0;
    if (!bits) CHECK(bits.error().code == Errc::unknown_format);
  }
  CHECK(known == 3 + 4 + 4);
  CHECK(block_size(145, 128).value() == 8704);
  CHECK(block_size(18, 128).value() == 6400);
  CHECK(block_size(147, 128).value() == 4608);
  CHECK(block_size(16, 128).value() == 16640);
  CHECK(block_size(17, 48).value() == 4096 + 256);
  const Bytes bytes(8448);
  const std::vector<double> ones(128, 1.0);
  const auto code = [&](std::size_t size, std::uint8_t format, bool is_value, std::uint32_t dim) {
    return decode_block({std::span(bytes).first(size), format}, is_value, dim, ones, tables)
        .error()
        .code;
  };
  CHECK(code(8447, 17, false, 128) == Errc::truncated);
  CHECK(code(8448, 18, false, 128) == Errc::shape_mismatch);
  CHECK(code(8448, 17, true, 128) == Errc::shape_mismatch);
  CHECK(code(8448, 129, false, 128) == Errc::unknown_format);
  CHECK(decode_block({bytes, 17}, false, 120, {}, tables).error().code == Errc::unsupported);
}

TEST_CASE("oracle: attend, computed by hand") {
  TinyAttend tiny;
  tiny.token(0, 0, 3);
  tiny.token(1, static_cast<float>(std::log(3.0)), -1);
  tiny.input.n_token = 2;  // all other rows are NaN
  SUBCASE("two heads share the kv head") {
    const AttendOutput output = tiny.run(1, 2, {1, -1});
    CHECK(std::fabs(output.out[0] - 0.0) < 1e-7);
    CHECK(output.lse[0] == doctest::Approx(std::log(4.0)).epsilon(1e-7));
    CHECK(output.error_scale[0] == doctest::Approx(std::sqrt(18.0) / 4).epsilon(1e-7));
    CHECK(output.out[32] == doctest::Approx(2.0).epsilon(1e-7));
    CHECK(output.out[33] == 0);
    CHECK(output.lse[1] == doctest::Approx(std::log(4.0 / 3)).epsilon(1e-7));
    CHECK(output.error_scale[1] == doctest::Approx(std::sqrt(5.125)).epsilon(1e-7));
  }
  SUBCASE("scale and softcap") {
    tiny.input.softmax_scale = 2;
    tiny.input.logit_softcap = 1.5;
    const AttendOutput output = tiny.run(1, 1, {1});
    const double logit = 1.5 * std::tanh(2 * std::log(3.0) / 1.5);
    CHECK(output.lse[0] == doctest::Approx(std::log(1 + std::exp(logit))).epsilon(1e-7));
  }
  SUBCASE("huge logits stay finite") {
    tiny.input.softmax_scale = 1e6;
    const AttendOutput output = tiny.run(1, 1, {1});
    CHECK(output.out[0] == -1);
    CHECK(output.lse[0] == doctest::Approx(1e6 * std::log(3.0)).epsilon(1e-7));
  }
}

TEST_CASE("oracle: attend sees what the masks leave") {
  TinyAttend tiny;
  for (std::size_t t = 0; t < 6; ++t) tiny.token(t, 0, static_cast<float>(1 << t));
  tiny.input.n_token = 6;
  tiny.input.first_q_position = 3;
  // Equal logits: the output is the mean over the visible values 1, 2, 4, 8, 16, 32.
  SUBCASE("causal") {
    tiny.input.causal = true;
    tiny.input.first_q_position = -1;
    const AttendOutput output = tiny.run(3, 1, {});
    CHECK(output.lse[0] == -kInfinity);
    CHECK(output.out[0] == 0);
    CHECK(output.error_scale[0] == 0);
    CHECK(output.out[32] == 1);
    CHECK(output.out[64] == 1.5);
  }
  SUBCASE("window, from the query on") {
    tiny.input.window = 2;
    const AttendOutput output = tiny.run(1, 1, {});
    CHECK(output.out[0] == doctest::Approx((4 + 8 + 16 + 32) / 4.0));
  }
  SUBCASE("causal window") {
    tiny.input.causal = true;
    tiny.input.window = 2;
    CHECK(tiny.run(1, 1, {}).out[0] == doctest::Approx(6));
  }
  SUBCASE("bits, with NaN where they are zero") {
    tiny.keys[32] = tiny.values[32] = kNan;
    const std::vector<std::uint8_t> bits = {1, 0, 0, 7, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1};
    tiny.input.mask_bits = bits;
    tiny.input.mask_stride = 7;
    const AttendOutput output = tiny.run(2, 1, {});
    CHECK(output.out[0] == doctest::Approx(4.5));
    CHECK(output.lse[1] == -kInfinity);  // only position 6, which does not exist
    CHECK(output.out[32] == 0);
  }
  SUBCASE("first page") {
    tiny.input.first_page = 2;
    tiny.input.n_token = 2 * 128 + 3;
    tiny.input.first_q_position = 2 * 128 + 1;
    tiny.input.causal = true;
    const AttendOutput output = tiny.run(2, 1, {});
    CHECK(output.out[0] == doctest::Approx(1.5));
    CHECK(output.out[32] == doctest::Approx(7 / 3.0));
    tiny.input.n_token = 3 * 128 + 1;
    CHECK(attend(tiny.input, Tables::standard()).error().code == Errc::incomplete);
  }
}

TEST_CASE("oracle: attend over coded blocks is attend over their decoded rows") {
  constexpr std::size_t kKey = 96;
  constexpr std::size_t kValue = 64;
  const Tables tables = Tables::standard();
  std::vector<double> equaliser(2 * kKey);
  for (std::size_t i = 0; i < equaliser.size(); ++i) equaliser[i] = 0.5 + 0.01 * double(i);
  std::vector<Bytes> store;
  store.reserve(16);
  std::vector<BlockBytes> blocks[4];                   // coded K, coded V, raw K, raw V
  for (std::uint32_t block = 0; block < 4; ++block) {  // two pages of two kv heads
    const auto e = std::span(equaliser).subspan((block % 2) * kKey, kKey);
    for (const bool is_value : {false, true}) {
      const std::size_t dim = is_value ? kValue : kKey;
      const std::vector<double> rows = gaussian(128 * dim, 10 + 2 * block + (is_value ? 1 : 0));
      QuantiseInput input{rows, 17, static_cast<std::uint32_t>(dim), {}, !is_value, {}, {}};
      if (!is_value) input.equaliser = e;
      const std::uint8_t format = is_value ? 17 : 145;
      const EncodedRows coded = quantise_block(input, tables).value();
      store.push_back(pack_block(coded, format, is_value, dim));
      blocks[is_value ? 1 : 0].push_back({store.back(), format});
      const auto decoded = decode_block(blocks[is_value ? 1 : 0].back(), is_value, input.head_dim,
                                        input.equaliser, tables);
      store.push_back(raw_block(decoded.value()));
      blocks[is_value ? 3 : 2].push_back({store.back(), 3});
    }
  }
  const std::vector<double> random = gaussian(3 * 4 * kKey, 99);
  const std::vector<float> q(random.begin(), random.end());
  AttendInput input;
  input.n_head = 4;
  input.n_kv_head = 2;
  input.key_head_dim = kKey;
  input.value_head_dim = kValue;
  input.softmax_scale = 0.2;
  input.n_q = 3;
  input.q = q;
  input.key_blocks = blocks[0];
  input.value_blocks = blocks[1];
  input.n_token = 200;
  input.first_q_position = 197;
  input.causal = true;
  input.equaliser = equaliser;
  const AttendOutput coded = attend(input, tables).value();
  input.key_blocks = blocks[2];
  input.value_blocks = blocks[3];
  const AttendOutput raw = attend(input, tables).value();
  const std::vector<float> out(raw.out.begin(), raw.out.end());
  const std::vector<float> lse(raw.lse.begin(), raw.lse.end());
  CHECK(worst_error(coded, out, kValue) < 1e-6);
  CHECK(worst_lse_error(coded, lse) < 1e-5);
  input.n_q = 2;
  CHECK(attend(input, tables).error().code == Errc::shape_mismatch);
}

TEST_CASE("oracle: the metric") {
  AttendOutput truth{{3, 4, 0, 0}, {1, -kInfinity}, {5, 0}, {0.05, 0}};
  CHECK(worst_error(truth, std::vector<float>{3, 4, 0, 0}, 2) == 0);
  CHECK(worst_error(truth, std::vector<float>{3, 4.5F, 0, 0}, 2) == doctest::Approx(0.1));
  CHECK(worst_error(truth, std::vector<float>{3, 4.5F, 0, 0}, 2, Eta::granted) ==
        doctest::Approx(0.05));
  CHECK(worst_error(truth, std::vector<float>{3, 4, 1e-30F, 0}, 2) == kInfinity);
  CHECK(worst_error(truth, std::vector<float>{kNan, 4, 0, 0}, 2) == kInfinity);
  CHECK(worst_error(truth, std::vector<float>{3, 4, 0}, 2) == kInfinity);
  const auto low = static_cast<float>(-kInfinity);
  CHECK(worst_lse_error(truth, std::vector<float>{1.25F, low}) == 0.25);
  CHECK(worst_lse_error(truth, std::vector<float>{1.25F, low}, Eta::granted) ==
        doctest::Approx(0.2));
  CHECK(worst_lse_error(truth, std::vector<float>{1, -1e30F}) == kInfinity);
  CHECK(worst_lse_error(truth, std::vector<float>{kNan, low}) == kInfinity);
  CHECK(worst_lse_error(truth, std::vector<float>{1}) == kInfinity);
}

TEST_CASE("oracle: error per element of Gaussian rows with the plain norm") {
  struct Row {
    std::uint32_t dim;
    double error[3];  // 4, 3, 2 bits
  };
  constexpr Row kRows[] = {{64, {.009247, .03347, .11458}},
                           {128, {.009409, .03401, .11606}},
                           {256, {.009499, .03429, .11680}}};
  const Tables tables = Tables::standard();
  for (const Row& row : kRows) {
    for (std::size_t k = 0; k < 3; ++k) {
      const auto scheme = static_cast<std::uint8_t>(17 + k);
      double error = 0;
      const std::uint32_t n_block = 4096 / row.dim;
      for (std::uint32_t block = 0; block < n_block; ++block) {
        const std::vector<double> rows = gaussian(std::size_t{128} * row.dim, 1000 + block);
        const QuantiseInput input{rows, scheme, row.dim, {}, false, Rule::plain, {}};
        const Bytes bytes =
            pack_block(quantise_block(input, tables).value(), scheme, true, row.dim);
        const auto back = decode_block({bytes, scheme}, true, row.dim, {}, tables).value();
        for (std::size_t t = 0; t < 128; ++t) {
          const auto x = std::span(rows).subspan(t * row.dim, row.dim);
          const auto y = std::span(back).subspan(t * row.dim, row.dim);
          const std::vector<double> zero(row.dim);
          error += squared_distance(x, y) / squared_distance(x, zero) / (128 * n_block);
        }
      }
      CAPTURE(row.dim);
      CAPTURE(scheme);
      CHECK(error == doctest::Approx(row.error[k]).epsilon(0.01));
    }
  }
}

TEST_CASE("oracle: the scale rules do what they promise") {
  const Tables tables = Tables::standard();
  const std::vector<double> rows = gaussian(128 * 64, 5);
  const std::vector<double> zero(64);
  for (const Rule rule : {Rule::matched, Rule::least_squares, Rule::unbiased}) {
    const EncodedRows coded = quantise_block({rows, 18, 64, {}, false, rule, {}}, tables).value();
    const Rotation rotation = Rotation::create(64).value();
    for (const std::size_t t : {0U, 77U}) {
      std::vector<double> r(64);
      std::vector<double> y(64);
      rotation.forward(std::span(rows).subspan(t * 64, 64), r);
      double product = 0;
      for (std::size_t i = 0; i < 64; ++i) {
        const int code = coded.codes[t * 64 + i];
        y[i] = coded.scale[t] * step_of(3, 64, tables) * value_of(code, 3, tables);
        product += r[i] * y[i];
        CHECK(coded.margin[t * 64 + i] >= 0);
      }
      const double rr = squared_distance(r, zero);
      const double yy = squared_distance(y, zero);
      if (rule == Rule::matched) CHECK(yy == doctest::Approx(rr));
      if (rule == Rule::least_squares) CHECK(product == doctest::Approx(yy));
      if (rule == Rule::unbiased) CHECK(product == doctest::Approx(rr));
    }
  }
}

TEST_CASE("oracle: quantise_block centres where it helps, and equalises") {
  const Tables tables = Tables::standard();
  std::vector<double> rows = gaussian(128 * 80, 6);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] += i % 80 == 11 ? 40.0 : 0.0;
  std::vector<double> equaliser(80, 1.0);
  equaliser[11] = 0.5;
  QuantiseInput input{rows, 16, 80, equaliser, true, {}, {}};
  const EncodedRows coded = quantise_block(input, tables).value();
  const Bytes bytes = pack_block(coded, 144, false, 80);
  const auto back = decode_block({bytes, 144}, false, 80, equaliser, tables).value();
  const std::vector<double> zero(rows.size());
  CHECK(squared_distance(rows, back) < 1e-3 * squared_distance(gaussian(128 * 80, 6), zero));
  // The mean is that of the equalised channel: 20 over all dimensions, within the noise.
  CHECK(squared_distance(coded.mean, zero) == doctest::Approx(400).epsilon(0.1));
  for (const double mean : coded.mean) CHECK(from_f16(to_f16(mean)) == mean);

  // The same mean given gives the same; another one other codes.
  input.mean = coded.mean;
  CHECK(quantise_block(input, tables).value().codes == coded.codes);
  input.mean = std::span(zero).first(80);
  CHECK(quantise_block(input, tables).value().codes != coded.codes);

  // One token 200 times larger than the rest: its mean would drown them.
  std::vector<double> spike = gaussian(128 * 80, 8);
  for (std::size_t i = 0; i < 80; ++i) spike[3 * 80 + i] *= 200;
  const EncodedRows uncentred = quantise_block({spike, 17, 80, {}, true, {}, {}}, tables).value();
  CHECK(squared_distance(uncentred.mean, zero) == 0);
}

TEST_CASE("oracle: quantise_block gives zero scales and refuses by name") {
  const Tables tables = Tables::standard();
  std::vector<double> rows(128 * 32);
  rows[0] = 6e-5;    // below 2^-14
  rows[32] = 7e-5;   // above
  rows[64] = 60000;  // fits
  QuantiseInput input{rows, 17, 32, {}, false, Rule::plain, {}};
  const EncodedRows coded = quantise_block(input, tables).value();
  CHECK(coded.scale[0] == 0);
  CHECK(coded.scale[1] == doctest::Approx(7e-5));
  CHECK(coded.scale[2] == doctest::Approx(60000));
  CHECK(coded.scale[3] == 0);
  rows[64] = 70000;
  CHECK(quantise_block(input, tables).error().code == Errc::limit_exceeded);
  rows[64] = kInfinity;
  CHECK(quantise_block(input, tables).error().code == Errc::not_finite);
  input.scheme = 145;
  CHECK(quantise_block(input, tables).error().code == Errc::unknown_format);
  input.scheme = 17;
  input.head_dim = 64;
  CHECK(quantise_block(input, tables).error().code == Errc::shape_mismatch);
}
