#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/result.hpp"

/// The oracle: what kvault computes, written once more from docs/format.md in plain double loops.
/// It shares no code, table or constant with the codec, the layout and the devices, so that a
/// mistake there cannot hide here. It is slow, and it is not a device.
namespace kvault::oracle {

inline constexpr std::size_t kPageTokens = 128;

/// The codebooks: integers T and steps s; value(c) = T[c] - 63.5, step = s / sqrt(head_dim).
/// Passing other ones than standard() is a negative control: "the wrong codebook".
struct Tables {
  double t4[16];
  double t3[8];
  double t2[4];
  double s4;
  double s3;
  double s2;

  /// Table id 1 of docs/format.md.
  static Tables standard();
};

/// value(code) of a scheme with `bits` 2, 3, 4 (by table) or 8 (the code itself).
double value_of(int code, std::uint32_t bits, const Tables& tables);
/// The step of a scheme with `bits` 2, 3, 4 or 8.
double step_of(std::uint32_t bits, std::uint32_t head_dim, const Tables& tables);

/// The number whose IEEE binary16 bits these are.
double from_f16(std::uint16_t bits);
/// The number whose bfloat16 bits these are.
double from_bf16(std::uint16_t bits);
/// Nearest binary16, ties to even, in one rounding.
std::uint16_t to_f16(double value);

/// H, [head_dim, head_dim], orthonormal. Empty where docs/format.md names no matrix of that order.
std::vector<double> hadamard(std::uint32_t head_dim);
/// The diagonal of S, [head_dim]: +1 and -1.
std::vector<double> signs(std::uint32_t head_dim);

/// y = H S x and back.
struct Rotation {
  std::uint32_t head_dim = 0;
  std::vector<double> matrix;  ///< H, [head_dim, head_dim]
  std::vector<double> sign;    ///< [head_dim]

  /// Errc::unsupported where there is no H of this order.
  static Result<Rotation> create(std::uint32_t head_dim);
  /// y[head_dim] = H S x[head_dim]; not in place.
  void forward(std::span<const double> x, std::span<double> y) const;
  /// x[head_dim] = S H^T y[head_dim]; not in place.
  void inverse(std::span<const double> y, std::span<double> x) const;
};

/// One stored block and the byte that says how it is stored.
struct BlockBytes {
  std::span<const std::byte> bytes;
  std::uint8_t format = 0;
};

/// What a coded block holds.
struct EncodedRows {
  std::vector<int> codes;     ///< [128, head_dim]
  std::vector<double> scale;  ///< [128]
  std::vector<double> mean;   ///< [head_dim], zeros where not centred
  /// From quantise_block only, [128, head_dim]: how far the quantised number lies from the nearest
  /// boundary between two codes, in units of value(code). Small: a near tie.
  std::vector<double> margin;
};

/// Bits per code of a coded format byte; 0 for the raw ones; Errc::unknown_format for all others.
Result<std::uint32_t> code_bits(std::uint8_t format);
/// Bytes of a block.
Result<std::uint64_t> block_size(std::uint8_t format, std::uint32_t head_dim);
/// The inverse of pack: the codes of one row, bytes [n_code * bits / 8] to [n_code]. n_code is a
/// multiple of 32, bits is 2, 3, 4 or 8.
std::vector<int> unpack(std::span<const std::byte> row, std::uint32_t bits, std::size_t n_code);
/// Codes, scales and means of a coded block as stored; bad scales (NaN) are returned, not refused.
Result<EncodedRows> read_block(const BlockBytes& block, bool is_value, std::uint32_t head_dim);

/// Decoded rows in the engine's domain, [128, head_dim]: raw ones converted, coded ones unpacked,
/// + mean, rotated back, / equaliser. `is_value` selects the order of codes. `equaliser`
/// [head_dim] or empty: all ones; V has none; raw blocks do not use it.
Result<std::vector<double>> decode_block(const BlockBytes& block, bool is_value,
                                         std::uint32_t head_dim, std::span<const double> equaliser,
                                         const Tables& tables);
/// The same with a rotation made beforehand; `rotation` may be null for a raw block.
Result<std::vector<double>> decode_block(const BlockBytes& block, bool is_value,
                                         std::uint32_t head_dim, std::span<const double> equaliser,
                                         const Tables& tables, const Rotation* rotation);

/// One attention call. Query head h reads kv head h / (n_head / n_kv_head). The pages must reach
/// n_token.
struct AttendInput {
  std::uint32_t n_head = 0;
  std::uint32_t n_kv_head = 0;
  std::uint32_t key_head_dim = 0;
  std::uint32_t value_head_dim = 0;
  double softmax_scale = 1.0;
  double logit_softcap = 0.0;  ///< c > 0: a logit s becomes c * tanh(s / c)
  std::uint32_t n_q = 0;
  std::span<const float> q;                  ///< [n_q, n_head, key_head_dim]
  std::span<const BlockBytes> key_blocks;    ///< [n_page, n_kv_head]
  std::span<const BlockBytes> value_blocks;  ///< [n_page, n_kv_head]
  std::uint64_t first_page = 0;              ///< the page of key_blocks[0]
  std::uint64_t n_token = 0;                 ///< keys at positions >= n_token do not exist
  std::int64_t first_q_position = 0;         ///< query i stands at first_q_position + i
  bool causal = false;                       ///< key position <= query position
  std::uint32_t window = 0;                  ///< if > 0: key position > query position - window
  std::span<const std::uint8_t> mask_bits;   ///< [n_q, mask_stride] nonzero = visible, or empty;
                                             ///< column 0 is position 0
  std::uint64_t mask_stride = 0;
  std::span<const double> equaliser;  ///< [n_kv_head, key_head_dim], or empty: all ones
};

struct AttendOutput {
  std::vector<double> out;          ///< [n_q, n_head, value_head_dim]
  std::vector<double> lse;          ///< [n_q, n_head]
  std::vector<double> error_scale;  ///< [n_q, n_head]: max(|o|, sqrt(sum_t p_t^2 |v_t|^2))
  /// [n_q, n_head]: softmax_scale |H S q|_inf / 32512 max_t |r_t|, r_t what a visible coded key
  /// adds to its page's mean. What a query of 15 bits costs where one rotated coordinate dominates.
  std::vector<double> eta;
};

/// softmax(scale * q.K^T, masked) V with the exact maximum. A row that sees no key gives zeros and
/// LSE = -infinity. A key that a row does not see is never read into its result, even where NaN.
Result<AttendOutput> attend(const AttendInput& input, const Tables& tables);

/// Whether a row's eta is counted as error or is granted: a device of integer queries may add it.
enum class Eta : std::uint8_t { counted, granted };

/// The error of attend: the worst |o - o*| / error_scale of all rows, out [n_q, n_head,
/// value_head_dim]. A row of scale 0 must be exactly o*, else infinity; NaN and wrong sizes too.
double worst_error(const AttendOutput& truth, std::span<const float> out,
                   std::uint32_t value_head_dim, Eta eta = Eta::counted);
/// The worst |lse - lse*|, lse [n_q, n_head]. -infinity must be met exactly, else infinity.
double worst_lse_error(const AttendOutput& truth, std::span<const float> lse,
                       Eta eta = Eta::counted);

/// How the scale of a token is chosen, of residual r and its quantised unit direction c.
enum class Rule : std::uint8_t {
  plain,          ///< |r|
  matched,        ///< |r| / |c|
  least_squares,  ///< <r, c> / <c, c>
  unbiased,       ///< |r|^2 / <r, c>
};

/// One block to encode.
struct QuantiseInput {
  std::span<const double> rows;  ///< [128, head_dim], engine domain, not equalised
  std::uint8_t scheme = 0;       ///< 16..19, without the bit that says centred
  std::uint32_t head_dim = 0;
  std::span<const double> equaliser;  ///< [head_dim], or empty: all ones
  bool centred = false;
  Rule rule = Rule::matched;
  /// [head_dim] or empty: subtract this one instead of finding a mean. With the mean of another
  /// encoder its codes can be compared although the two round a mean differently.
  std::span<const double> mean;
};

/// "Encoding" of docs/format.md in double precision. The mean is rounded to f16, as the codes
/// depend on it; scales are exact, not rounded. Errc::not_finite for NaN and infinity,
/// Errc::limit_exceeded where the block must be stored raw.
Result<EncodedRows> quantise_block(const QuantiseInput& input, const Tables& tables);

}  // namespace kvault::oracle
