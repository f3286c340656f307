// Residuals to codes for one instruction set; see rotate-inl.hpp for how to include it.
#if defined(KVAULT_CORE_CPU_QUANTISE_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVAULT_CORE_CPU_QUANTISE_INL_HPP
#undef KVAULT_CORE_CPU_QUANTISE_INL_HPP
#else
#define KVAULT_CORE_CPU_QUANTISE_INL_HPP
#endif

#include <cstddef>
#include <cstdint>

#include "core/cpu/code_bins.hpp"
#include "core/cpu/level_tables.hpp"
#include "core/cpu/row_quad.hpp"
#include "core/cpu/row_types-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace quantise {

using Words = hn::RebindToSigned<RowFloats>;
using Shorts = hn::Repartition<std::int16_t, RowFloats>;
using Bytes = hn::Repartition<std::uint8_t, RowFloats>;

/// y - mean of one token.
HWY_INLINE RowVector LoadResidual(const RowQuad& quad, std::size_t token, std::size_t at) {
  const RowFloats d;
  return hn::Sub(hn::LoadU(d, quad.rows + token * quad.stride + at), hn::LoadU(d, quad.mean + at));
}

/// Words of four tokens as shorts: token a in the lower half of a lane, token b in the upper.
HWY_INLINE hn::Vec<Shorts> JoinWords(hn::Vec<Words> a, hn::Vec<Words> b) {
  return hn::OddEven(hn::BitCast(Shorts(), hn::ShiftLeft<16>(b)), hn::BitCast(Shorts(), a));
}

/// The code of each byte x = floor(2 u); see CodeBins.
template <bool kHasSecond>
struct BinVectors {
  hn::Vec<Bytes> code_at, first, second;

  HWY_INLINE explicit BinVectors(const CodeBins& bins)
      : code_at(hn::LoadDup128(Bytes(), bins.code_at.data())),
        first(hn::LoadDup128(Bytes(), bins.first.data())),
        second(hn::LoadDup128(Bytes(), bins.second.data())) {}

  HWY_INLINE hn::Vec<Bytes> CodesOf(hn::Vec<Bytes> x) const {
    const auto one = hn::Set(Bytes(), 1);
    const auto bin = hn::ShiftRight<4>(x);
    const auto above = hn::SaturatedSub(x, hn::TableLookupBytes(first, bin));
    auto codes = hn::Add(hn::TableLookupBytes(code_at, bin), hn::Min(above, one));
    if constexpr (kHasSecond) {
      const auto above_second = hn::SaturatedSub(x, hn::TableLookupBytes(second, bin));
      codes = hn::Add(codes, hn::Min(above_second, one));
    }
    return codes;
  }
};

/// Sums of squares of levels, by token; exact.
struct SquareSums {
  hn::Vec<Words> sums[kQuadTokens];

  HWY_INLINE SquareSums() {
    for (auto& sum : sums) sum = hn::Zero(Words());
  }
  /// levels: lanes of four bytes, one per token.
  HWY_INLINE void AddSquares(hn::Vec<Bytes> levels) {
    const Words d;
    const auto shorts = hn::BitCast(Shorts(), levels);
    const auto even = hn::ShiftRight<8>(hn::ShiftLeft<8>(shorts));
    const auto odd = hn::ShiftRight<8>(shorts);
    const auto even_squares = hn::BitCast(d, hn::Mul(even, even));
    const auto odd_squares = hn::BitCast(d, hn::Mul(odd, odd));
    const auto low = hn::Set(d, 0xFFFF);
    sums[0] = hn::Add(sums[0], hn::And(even_squares, low));
    sums[1] = hn::Add(sums[1], hn::And(odd_squares, low));
    sums[2] = hn::Add(sums[2], hn::ShiftRight<16>(even_squares));
    sums[3] = hn::Add(sums[3], hn::ShiftRight<16>(odd_squares));
  }
};

/// The levels of one token out of lanes of four bytes.
template <int kToken>
HWY_INLINE RowVector LevelsOf(hn::Vec<Bytes> levels) {
  const auto words = hn::BitCast(Words(), levels);
  return hn::ConvertTo(RowFloats(), hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * kToken>(words)));
}

/// Codes of four tokens, one lane of four bytes per dimension; x holds floor(2 u) of each token.
HWY_INLINE hn::Vec<Bytes> JoinClamped(const hn::Vec<Words> (&x)[kQuadTokens]) {
  const Shorts d;
  const auto zero = hn::Zero(d);
  const auto most = hn::Set(d, 255);
  const auto even = hn::Min(hn::Max(JoinWords(x[0], x[2]), zero), most);
  const auto odd = hn::Min(hn::Max(JoinWords(x[1], x[3]), zero), most);
  return hn::BitCast(Bytes(), hn::Or(even, hn::ShiftLeft<8>(odd)));
}

/// Codes of a tq scheme.
template <Scheme kScheme, NeededSums kNeeded>
HWY_INLINE void QuantiseLevels(const RowQuad& quad, std::uint8_t* codes, QuadSums& sums) {
  constexpr bool kWithSquares = kNeeded != NeededSums::products;
  constexpr bool kWithProducts = kNeeded != NeededSums::squares;
  static constexpr CodeBins kBins = CodeBins::of(kScheme);
  alignas(16) static constexpr NibbleLevels kLevels = value_levels(kScheme);
  const RowFloats d;
  const BinVectors<kBins.has_second> bins(kBins);
  const auto levels_of = hn::LoadDup128(Bytes(), kLevels.data());
  const auto centre = hn::Set(d, static_cast<float>(2 * KVAULT_TABLE_CENTRE));
  SquareSums squares;
  RowVector products[kQuadTokens];
  RowVector factors[kQuadTokens];
  HWY_UNROLL(4)
  for (std::size_t t = 0; t < kQuadTokens; ++t) {
    products[t] = hn::Zero(d);
    factors[t] = hn::Set(d, quad.factor[t]);
  }
  for (std::size_t at = 0; at < quad.n_dim; at += kRowLane) {
    RowVector residual[kQuadTokens];
    hn::Vec<Words> x[kQuadTokens];
    HWY_UNROLL(4)
    for (std::size_t t = 0; t < kQuadTokens; ++t) {
      residual[t] = LoadResidual(quad, t, at);
      x[t] = hn::ConvertTo(Words(), hn::MulAdd(residual[t], factors[t], centre));
    }
    const auto nearest = bins.CodesOf(JoinClamped(x));
    hn::StoreU(nearest, Bytes(), codes + at * kQuadTokens);
    const auto levels = hn::TableLookupBytes(levels_of, nearest);
    if constexpr (kWithSquares) squares.AddSquares(levels);
    if constexpr (kWithProducts) {
      products[0] = hn::MulAdd(LevelsOf<0>(levels), residual[0], products[0]);
      products[1] = hn::MulAdd(LevelsOf<1>(levels), residual[1], products[1]);
      products[2] = hn::MulAdd(LevelsOf<2>(levels), residual[2], products[2]);
      products[3] = hn::MulAdd(LevelsOf<3>(levels), residual[3], products[3]);
    }
  }
  HWY_UNROLL(4)
  for (std::size_t t = 0; t < kQuadTokens; ++t) {
    if constexpr (kWithSquares) {
      const auto square = hn::GetLane(hn::SumOfLanes(Words(), squares.sums[t]));
      sums.squares[t] = static_cast<float>(square);
    }
    if constexpr (kWithProducts) sums.products[t] = hn::GetLane(hn::SumOfLanes(d, products[t]));
  }
}

/// Codes of q8. Beside 1.5 * 2^23 a float has room for integers only: the sum rounds to the nearest
/// one, whose low byte is then that of the float.
HWY_INLINE void QuantiseBytes(const RowQuad& quad, std::uint8_t* codes) {
  const RowFloats d;
  const Shorts d_short;
  const auto integers = hn::Set(d, 0x1.8p23F);
  for (std::size_t at = 0; at < quad.n_dim; at += kRowLane) {
    hn::Vec<Words> x[kQuadTokens];
    HWY_UNROLL(4)
    for (std::size_t t = 0; t < kQuadTokens; ++t) {
      const auto factor = hn::Set(d, quad.factor[t]);
      x[t] = hn::BitCast(Words(), hn::MulAdd(LoadResidual(quad, t, at), factor, integers));
    }
    const auto even = hn::And(JoinWords(x[0], x[2]), hn::Set(d_short, 0xFF));
    const auto odd = hn::ShiftLeft<8>(JoinWords(x[1], x[3]));
    hn::StoreU(hn::BitCast(Bytes(), hn::Or(even, odd)), Bytes(), codes + at * kQuadTokens);
  }
}

template <Scheme kScheme>
HWY_INLINE void QuantiseWith(NeededSums needed, const RowQuad& quad, std::uint8_t* codes,
                             QuadSums& sums) {
  switch (needed) {
    case NeededSums::squares:
      return QuantiseLevels<kScheme, NeededSums::squares>(quad, codes, sums);
    case NeededSums::products:
      return QuantiseLevels<kScheme, NeededSums::products>(quad, codes, sums);
    case NeededSums::both:
      return QuantiseLevels<kScheme, NeededSums::both>(quad, codes, sums);
  }
}

}  // namespace quantise

/// Codes [n_dim][4] of four tokens, in the order of V's quad rows, and the sums that scales need.
HWY_INLINE void QuantiseQuad(Scheme scheme, NeededSums needed, const RowQuad& quad,
                             std::uint8_t* codes, QuadSums& sums) {
  using quantise::QuantiseWith;
  switch (scheme) {
    case Scheme::tq4:
      return QuantiseWith<Scheme::tq4>(needed, quad, codes, sums);
    case Scheme::tq3:
      return QuantiseWith<Scheme::tq3>(needed, quad, codes, sums);
    case Scheme::tq2:
      return QuantiseWith<Scheme::tq2>(needed, quad, codes, sums);
    default:
      return quantise::QuantiseBytes(quad, codes);
  }
}

}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
