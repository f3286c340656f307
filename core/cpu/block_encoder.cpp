#include "core/cpu/block_encoder.hpp"

#include <algorithm>
#include <cstring>

#include "core/base/assert.hpp"
#include "core/codec/codebook.hpp"
#include "core/cpu/pack_slack.hpp"
#include "core/cpu/row_quad.hpp"
#include "core/cpu/simd_targets.hpp"
#include "core/layout/block_layout.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/block_encoder.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/cpu/pack-inl.hpp"
#include "core/cpu/quantise-inl.hpp"
#include "core/cpu/rotate-inl.hpp"

// Compiled once per instruction set; the table at the end names them all. A block goes through
// three passes: rotate and sum, decide about the mean, quantise and pack. Its rows stay in L2
// meanwhile.
HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace encode {

/// Rows rotated at once: what the first pass does with them finds them in L1.
inline constexpr std::size_t kGroup = 16;
inline constexpr std::size_t kSumVectors = 4;
/// Between these f32 holds sums of squares to its full precision.
inline constexpr float kEnergyMin = 1e-30F;
inline constexpr float kEnergyMax = 1e30F;

/// The sum of (row - mean)^2.
HWY_INLINE float SquaredDistance(const float* row, const float* mean, std::size_t n_dim) {
  const RowFloats d;
  RowVector low = hn::Zero(d);
  RowVector high = hn::Zero(d);
  std::size_t at = 0;
  for (; at + 2 * kRowLane <= n_dim; at += 2 * kRowLane) {
    const auto a = hn::Sub(hn::LoadU(d, row + at), hn::LoadU(d, mean + at));
    const auto b = hn::Sub(hn::LoadU(d, row + at + kRowLane), hn::LoadU(d, mean + at + kRowLane));
    low = hn::MulAdd(a, a, low);
    high = hn::MulAdd(b, b, high);
  }
  if (at < n_dim) {
    const auto a = hn::Sub(hn::LoadU(d, row + at), hn::LoadU(d, mean + at));
    low = hn::MulAdd(a, a, low);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(low, high)));
}

/// The largest |row - mean|; NaN and infinity count as infinity.
HWY_INLINE float LargestDistance(const float* row, const float* mean, std::size_t n_dim) {
  const RowFloats d;
  const auto infinity = hn::Inf(d);
  RowVector most = hn::Zero(d);
  for (std::size_t at = 0; at < n_dim; at += kRowLane) {
    const auto r = hn::Abs(hn::Sub(hn::LoadU(d, row + at), hn::LoadU(d, mean + at)));
    most = hn::Max(most, hn::IfThenElse(hn::Lt(r, infinity), r, infinity));
  }
  return hn::GetLane(hn::MaxOfLanes(d, most));
}

/// sums[n_dim] += the rows of a group, added up as a tree.
HWY_INLINE void AddColumns(const float* rows, std::size_t n_dim, float* sums) {
  const RowFloats d;
  for (std::size_t at = 0; at < n_dim; at += kRowLane) {
    RowVector sum[kSumVectors];
    HWY_UNROLL(4)
    for (std::size_t i = 0; i < kSumVectors; ++i) sum[i] = hn::LoadU(d, rows + i * n_dim + at);
    for (std::size_t row = kSumVectors; row < kGroup; row += kSumVectors) {
      HWY_UNROLL(4)
      for (std::size_t i = 0; i < kSumVectors; ++i) {
        sum[i] = hn::Add(sum[i], hn::LoadU(d, rows + (row + i) * n_dim + at));
      }
    }
    const auto total = hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]));
    hn::StoreU(hn::Add(hn::LoadU(d, sums + at), total), d, sums + at);
  }
}

/// factor = the diagonal of the rotation times the equaliser.
HWY_INLINE void MakeFactor(const BlockEncoding& encoding, float* factor) {
  const RowFloats d;
  const std::span<const float> signs = encoding.rotation.scaled_signs();
  for (std::size_t at = 0; at < signs.size(); at += kRowLane) {
    RowVector v = hn::LoadU(d, signs.data() + at);
    if (!encoding.equaliser.empty()) {
      v = hn::Mul(v, LoadAsFloats(encoding.equaliser.data() + at));
    }
    hn::StoreU(v, d, factor + at);
  }
}

/// The first pass: rows, their energies and, where the block is centred, the sums of the columns.
template <class T>
HWY_INLINE void RotateAndSum(const BlockEncoding& encoding, EncodeScratch& scratch) {
  const std::size_t n_dim = encoding.rotation.head_dim();
  const auto* const source = reinterpret_cast<const T*>(encoding.rows.data());
  for (std::size_t token = 0; token < kPageTokens; token += kGroup) {
    float* const rows = scratch.rows.data() + token * n_dim;
    RotateScaled(encoding.rotation, source + token * n_dim, n_dim, scratch.factor.data(), rows,
                 kGroup, n_dim);
    for (std::size_t i = 0; i < kGroup; ++i) {
      scratch.energy.data()[token + i] =
          SquaredDistance(rows + i * n_dim, scratch.mean.data(), n_dim);
    }
    if (encoding.format.is_centred()) AddColumns(rows, n_dim, scratch.column_sum.data());
  }
}

void RotateAndSumRows(const BlockEncoding& encoding, EncodeScratch& scratch) {
  const std::size_t n_dim = encoding.rotation.head_dim();
  MakeFactor(encoding, scratch.factor.data());
  std::fill_n(scratch.mean.data(), n_dim, 0.0F);
  std::fill_n(scratch.mean_half.data(), padded_head_dim(encoding.rotation.head_dim()), Half{});
  std::fill_n(scratch.column_sum.data(), n_dim, 0.0F);
  switch (encoding.row_type) {
    case RowType::f16:
      return RotateAndSum<Half>(encoding, scratch);
    case RowType::bf16:
      return RotateAndSum<BFloat16>(encoding, scratch);
    case RowType::f32:
      return RotateAndSum<float>(encoding, scratch);
  }
}

/// mean = the columns' means rounded to f16; false where one exceeds it.
HWY_INLINE bool RoundMean(std::size_t n_dim, EncodeScratch& scratch) {
  const RowFloats d;
  const auto per_token = hn::Set(d, 1.0F / static_cast<float>(kPageTokens));
  const auto most = hn::Set(d, kHalfMax);
  bool fits = true;
  for (std::size_t at = 0; at < n_dim; at += kRowLane) {
    const auto exact = hn::Mul(hn::LoadU(d, scratch.column_sum.data() + at), per_token);
    StoreFloats(exact, scratch.mean_half.data() + at);
    const auto rounded = LoadAsFloats(scratch.mean_half.data() + at);
    fits = fits && hn::AllTrue(d, hn::Le(hn::Abs(rounded), most));
    hn::StoreU(rounded, d, scratch.mean.data() + at);
  }
  return fits;
}

/// |row - mean|^2 / |row|^2, 1 for a row of zeros.
double EnergyRatio(const EncodeScratch& scratch, std::size_t token, std::size_t n_dim) {
  const float before = scratch.energy.data()[token];
  const float after = scratch.residual.data()[token];
  if (before > kEnergyMin && before < kEnergyMax && after < kEnergyMax) {
    return static_cast<double>(after) / static_cast<double>(before);
  }
  const float* const row = scratch.rows.data() + token * n_dim;
  double row_sum = 0;
  double residual_sum = 0;
  for (std::size_t i = 0; i < n_dim; ++i) {
    const double y = row[i];
    const double r = y - scratch.mean.data()[i];
    row_sum += y * y;
    residual_sum += r * r;
  }
  return row_sum > 0 ? residual_sum / row_sum : 1.0;
}

/// The second pass: the mean, or zeros where it does not lower the sum of |r|^2 / |y|^2; false
/// where it exceeds f16.
bool Centre(const BlockEncoding& encoding, EncodeScratch& scratch) {
  const std::size_t n_dim = encoding.rotation.head_dim();
  if (!RoundMean(n_dim, scratch)) return false;
  double ratio_sum = 0;
  for (std::size_t token = 0; token < kPageTokens; ++token) {
    scratch.residual.data()[token] =
        SquaredDistance(scratch.rows.data() + token * n_dim, scratch.mean.data(), n_dim);
    ratio_sum += EnergyRatio(scratch, token, n_dim);
  }
  if (ratio_sum < static_cast<double>(kPageTokens)) {
    std::copy_n(scratch.residual.data(), kPageTokens, scratch.energy.data());
  } else {
    std::fill_n(scratch.mean.data(), n_dim, 0.0F);
    std::fill_n(scratch.mean_half.data(), n_dim, Half{});
  }
  return true;
}

/// |r| of a vector of tokens; q8: max|r|. NaN or infinity where a row has left f32.
HWY_INLINE RowVector TokenSizes(Scheme scheme, const EncodeScratch& scratch, std::size_t token) {
  const RowFloats d;
  if (scheme == Scheme::q8) return hn::LoadU(d, scratch.residual.data() + token);
  return hn::Sqrt(hn::LoadU(d, scratch.energy.data() + token));
}

/// token_factor: see RowQuad; 0 where the size is below a normal f16.
void MakeTokenFactors(const BlockEncoding& encoding, EncodeScratch& scratch) {
  const RowFloats d;
  const std::uint32_t n_dim = encoding.rotation.head_dim();
  const Scheme scheme = encoding.format.scheme();
  float numerator = static_cast<float>(KVAULT_Q8_CODE_MAX);
  if (scheme != Scheme::q8) numerator = 2.0F / Codebook::step(scheme, n_dim);
  for (std::size_t token = 0; token < kPageTokens && scheme == Scheme::q8; ++token) {
    scratch.residual.data()[token] =
        LargestDistance(scratch.rows.data() + token * n_dim, scratch.mean.data(), n_dim);
  }
  for (std::size_t token = 0; token < kPageTokens; token += kRowLane) {
    const auto size = TokenSizes(scheme, scratch, token);
    const auto is_normal = hn::Ge(size, hn::Set(d, kHalfMinNormal));
    const auto factor = hn::Div(hn::Set(d, numerator), size);
    hn::StoreU(hn::IfThenElseZero(is_normal, factor), d, scratch.token_factor.data() + token);
  }
}

/// Codes [dim][4 tokens] to four rows of codes, each packed.
HWY_INLINE void PackRows(Scheme scheme, std::size_t n_dim, EncodeScratch& scratch,
                         std::uint8_t* target) {
  const hn::CappedTag<std::uint8_t, 32> d;
  std::uint8_t* const rows = scratch.token_rows.data();
  for (std::size_t at = 0; at < n_dim; at += hn::Lanes(d)) {
    hn::Vec<decltype(d)> row[kQuadTokens];
    hn::LoadInterleaved4(d, scratch.quad.data() + at * kQuadTokens, row[0], row[1], row[2], row[3]);
    HWY_UNROLL(4)
    for (std::size_t t = 0; t < kQuadTokens; ++t) hn::StoreU(row[t], d, rows + t * n_dim + at);
  }
  // Rows of tokens that follow each other are one longer row: n_dim is a multiple of 32.
  if (scheme == Scheme::q8) {
    std::memcpy(target, rows, kQuadTokens * n_dim);
  } else {
    PackCodes(scheme, rows, kQuadTokens * n_dim, scratch.work.data(), target);
  }
}

NeededSums NeededSumsOf(ScaleRule rule) {
  switch (rule) {
    case ScaleRule::least_squares:
      return NeededSums::both;
    case ScaleRule::unbiased:
      return NeededSums::products;
    case ScaleRule::plain:
    case ScaleRule::matched:
      break;
  }
  return NeededSums::squares;
}

/// The third pass: the codes plane and the sums for the scales.
void QuantiseAndPack(const BlockEncoding& encoding, EncodeScratch& scratch) {
  const Scheme scheme = encoding.format.scheme();
  const std::size_t n_dim = encoding.rotation.head_dim();
  const std::size_t padded = padded_head_dim(encoding.rotation.head_dim());
  const std::size_t quad_bytes = padded * kQuadTokens * code_bits_of(scheme) / 8;
  const NeededSums needed = NeededSumsOf(encoding.rule);
  std::fill_n(scratch.quad.data(), padded * kQuadTokens, std::uint8_t{0});
  for (std::size_t token = 0; token < kPageTokens; token += kQuadTokens) {
    const RowQuad quad = {.rows = scratch.rows.data() + token * n_dim,
                          .stride = n_dim,
                          .mean = scratch.mean.data(),
                          .factor = scratch.token_factor.data() + token,
                          .n_dim = n_dim};
    QuadSums sums = {scratch.squares.data() + token, scratch.products.data() + token};
    QuantiseQuad(scheme, needed, quad, scratch.quad.data(), sums);
    std::uint8_t* const target = scratch.packed.data() + token / kQuadTokens * quad_bytes;
    if (encoding.side == Side::key) {
      PackRows(scheme, padded, scratch, target);
    } else if (scheme == Scheme::q8) {
      std::memcpy(target, scratch.quad.data(), quad_bytes);
    } else {
      PackCodes(scheme, scratch.quad.data(), padded * kQuadTokens, scratch.work.data(), target);
    }
  }
}

/// The scales of a vector of tokens, before they are rounded.
HWY_INLINE RowVector ExactScale(const BlockEncoding& encoding, const EncodeScratch& scratch,
                                std::size_t token) {
  const RowFloats d;
  const Scheme scheme = encoding.format.scheme();
  const auto norm = TokenSizes(scheme, scratch, token);
  if (scheme == Scheme::q8) return norm;
  const auto half_step = hn::Set(d, 0.5F * Codebook::step(scheme, encoding.rotation.head_dim()));
  const auto squares = hn::LoadU(d, scratch.squares.data() + token);
  const auto products = hn::LoadU(d, scratch.products.data() + token);
  switch (encoding.rule) {
    case ScaleRule::plain:
      break;
    case ScaleRule::matched:
      return hn::Div(norm, hn::Mul(hn::Sqrt(squares), half_step));
    case ScaleRule::least_squares:
      return hn::Div(products, hn::Mul(squares, half_step));
    case ScaleRule::unbiased:
      return hn::Mul(norm, hn::Div(norm, hn::Mul(products, half_step)));
  }
  return norm;
}

/// scale = the scales rounded to f16, +0 where they or the rows are too small; false where one is
/// too large.
bool RoundScales(const BlockEncoding& encoding, EncodeScratch& scratch) {
  const RowFloats d;
  const auto most = hn::Set(d, kHalfMax);
  const auto least = hn::Set(d, kHalfMinNormal);
  bool fits = true;
  for (std::size_t token = 0; token < kPageTokens; token += kRowLane) {
    Half* const target = scratch.scale.data() + token;
    const auto is_small = hn::Lt(TokenSizes(encoding.format.scheme(), scratch, token), least);
    StoreFloats(hn::IfThenZeroElse(is_small, ExactScale(encoding, scratch, token)), target);
    const auto rounded = LoadAsFloats(target);
    fits = fits && hn::AllTrue(d, hn::Le(rounded, most));
    StoreFloats(hn::IfThenElseZero(hn::Ge(rounded, least), rounded), target);
  }
  return fits;
}

void Write(const BlockEncoding& encoding, const EncodeScratch& scratch,
           std::span<std::byte> target) {
  const std::uint32_t n_dim = encoding.rotation.head_dim();
  const BlockLayout layout = BlockLayout::of(encoding.format, n_dim);
  std::memcpy(target.data(), scratch.packed.data(), layout.codes_size_bytes);
  std::memcpy(target.data() + layout.scale_offset_bytes, scratch.scale.data(),
              kPageTokens * sizeof(Half));
  if (!encoding.format.is_centred()) return;
  const std::size_t mean_bytes = padded_head_dim(n_dim) * sizeof(Half);
  std::memcpy(target.data() + layout.mean_offset_bytes, scratch.mean_half.data(), mean_bytes);
  std::fill(target.begin() + static_cast<std::ptrdiff_t>(layout.mean_offset_bytes + mean_bytes),
            target.end(), std::byte{0});
}

}  // namespace encode

bool EncodeBlock(const BlockEncoding& encoding, EncodeScratch& scratch,
                 std::span<std::byte> target) {
  encode::RotateAndSumRows(encoding, scratch);
  if (encoding.format.is_centred() && !encode::Centre(encoding, scratch)) return false;
  encode::MakeTokenFactors(encoding, scratch);
  encode::QuantiseAndPack(encoding, scratch);
  if (!encode::RoundScales(encoding, scratch)) return false;
  encode::Write(encoding, scratch, target);
  return true;
}

}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::cpu {
namespace {

using EncodeFunction = bool (*)(const BlockEncoding&, EncodeScratch&, std::span<std::byte>);
constexpr EncodeFunction kEncode[] = KVAULT_SIMD_TABLE(EncodeBlock);
constexpr std::size_t kDimMax = KVAULT_HEAD_DIM_MAX;

}  // namespace

EncodeScratch::EncodeScratch()
    : factor(kDimMax),
      rows(kPageTokens * kDimMax),
      column_sum(kDimMax),
      mean(kDimMax),
      mean_half(kDimMax),
      energy(kPageTokens),
      residual(kPageTokens),
      token_factor(kPageTokens),
      squares(kPageTokens),
      products(kPageTokens),
      scale(kPageTokens),
      quad(kQuadTokens * kDimMax + kPackSlack),
      token_rows(kQuadTokens * kDimMax + kPackSlack),
      work(kQuadTokens * kDimMax / 2 + kPackSlack),
      packed(kPageTokens * kDimMax + kPackSlack) {}

BlockEncoder::BlockEncoder(InstructionSet set) : encode_(kEncode[static_cast<std::size_t>(set)]) {
  KVAULT_ASSERT(encode_ != nullptr && is_supported(set));
}

bool BlockEncoder::encode(const BlockEncoding& encoding, std::span<std::byte> target) {
  const std::uint32_t head_dim = encoding.rotation.head_dim();
  KVAULT_ASSERT(!encoding.format.is_raw());
  KVAULT_ASSERT(encoding.rows.size() ==
                std::size_t{kPageTokens} * head_dim * size_bytes_of(encoding.row_type));
  KVAULT_ASSERT(encoding.equaliser.empty() || encoding.equaliser.size() == head_dim);
  KVAULT_ASSERT(target.size() == BlockLayout::of(encoding.format, head_dim).size_bytes);
  return encode_(encoding, scratch_, target);
}

}  // namespace kvault::cpu
#endif
