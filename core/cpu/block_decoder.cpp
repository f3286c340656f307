#include "core/cpu/block_decoder.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/base/assert.hpp"
#include "core/codec/codebook.hpp"
#include "core/cpu/pack_slack.hpp"
#include "core/cpu/row_quad.hpp"
#include "core/cpu/simd_targets.hpp"
#include "core/layout/block_layout.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/block_decoder.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/cpu/pack-inl.hpp"
#include "core/cpu/rotate-inl.hpp"

// Compiled once per instruction set; the table at the end names them all.
HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace decode {

using Words = hn::RebindToSigned<RowFloats>;

/// Rows that are rotated at once: unpacked into L1 and gone from there when they are stored.
inline constexpr std::size_t kGroup = 16;

/// Scale and mean planes, and what a row is multiplied by at last: diagonal over equaliser.
void ReadPlanes(const BlockDecoding& decoding, DecodeScratch& scratch) {
  const RowFloats d;
  const std::uint32_t n_dim = decoding.rotation.head_dim();
  const Scheme scheme = decoding.format.scheme();
  const BlockLayout layout = BlockLayout::of(decoding.format, n_dim);
  const auto* const scale =
      reinterpret_cast<const Half*>(decoding.block.data() + layout.scale_offset_bytes);
  // tq levels come doubled, so that they are integers.
  const float step = Codebook::step(scheme, n_dim) * (scheme == Scheme::q8 ? 1.0F : 0.5F);
  for (std::size_t token = 0; token < kPageTokens; token += kRowLane) {
    hn::StoreU(hn::Mul(LoadAsFloats(scale + token), hn::Set(d, step)), d,
               scratch.token_factor.data() + token);
  }
  const auto* const mean =
      reinterpret_cast<const Half*>(decoding.block.data() + layout.mean_offset_bytes);
  const float* const signs = decoding.rotation.scaled_signs().data();
  for (std::size_t at = 0; at < n_dim; at += kRowLane) {
    const bool has_mean = decoding.format.is_centred();
    hn::StoreU(has_mean ? LoadAsFloats(mean + at) : hn::Zero(d), d, scratch.mean.data() + at);
    RowVector factor = hn::LoadU(d, signs + at);
    if (!decoding.equaliser.empty()) {
      factor = hn::Div(factor, LoadAsFloats(decoding.equaliser.data() + at));
    }
    hn::StoreU(factor, d, scratch.factor.data() + at);
  }
}

/// The levels of n codes that begin `at` codes into the block.
HWY_INLINE const std::int8_t* ReadLevels(const BlockDecoding& decoding, DecodeScratch& scratch,
                                         std::size_t at, std::size_t n) {
  const Scheme scheme = decoding.format.scheme();
  const std::byte* const packed = decoding.block.data() + at * code_bits_of(scheme) / 8;
  if (scheme == Scheme::q8) return reinterpret_cast<const std::int8_t*>(packed);
  UnpackLevels(scheme, reinterpret_cast<const std::uint8_t*>(packed), n, scratch.work.data(),
               scratch.levels.data());
  return scratch.levels.data();
}

/// row = mean + factor * levels
HWY_INLINE void ScaleLevels(const std::int8_t* levels, const float* mean, float factor,
                            std::size_t n_dim, float* row) {
  const RowFloats d;
  const hn::Rebind<std::int8_t, RowFloats> d_byte;
  const auto factors = hn::Set(d, factor);
  for (std::size_t at = 0; at < n_dim; at += kRowLane) {
    const auto words = hn::PromoteTo(Words(), hn::LoadU(d_byte, levels + at));
    const auto y = hn::MulAdd(hn::ConvertTo(d, words), factors, hn::LoadU(d, mean + at));
    hn::StoreU(y, d, row + at);
  }
}

/// One token of a quad row [n_dim][4].
template <int kToken>
HWY_INLINE void ScaleQuadLevels(const std::int8_t* levels, const float* mean, float factor,
                                std::size_t n_dim, float* row) {
  const RowFloats d;
  const hn::Repartition<std::int8_t, RowFloats> d_byte;
  const auto factors = hn::Set(d, factor);
  for (std::size_t at = 0; at < n_dim; at += kRowLane) {
    const auto all = hn::BitCast(Words(), hn::LoadU(d_byte, levels + at * kQuadTokens));
    const auto words = hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * kToken>(all));
    const auto y = hn::MulAdd(hn::ConvertTo(d, words), factors, hn::LoadU(d, mean + at));
    hn::StoreU(y, d, row + at);
  }
}

/// Four tokens, rotated, to scratch rows.
HWY_INLINE void ReadQuad(const BlockDecoding& decoding, DecodeScratch& scratch, std::size_t token,
                         float* rows) {
  const std::size_t n_dim = decoding.rotation.head_dim();
  const std::size_t padded = padded_head_dim(decoding.rotation.head_dim());
  const float* const factor = scratch.token_factor.data() + token;
  const float* const mean = scratch.mean.data();
  // Rows of K follow each other without a gap, so four of them unpack as one.
  const std::int8_t* const levels =
      ReadLevels(decoding, scratch, token * padded, kQuadTokens * padded);
  if (decoding.side == Side::key) {
    for (std::size_t t = 0; t < kQuadTokens; ++t) {
      ScaleLevels(levels + t * padded, mean, factor[t], n_dim, rows + t * n_dim);
    }
    return;
  }
  ScaleQuadLevels<0>(levels, mean, factor[0], n_dim, rows);
  ScaleQuadLevels<1>(levels, mean, factor[1], n_dim, rows + n_dim);
  ScaleQuadLevels<2>(levels, mean, factor[2], n_dim, rows + 2 * n_dim);
  ScaleQuadLevels<3>(levels, mean, factor[3], n_dim, rows + 3 * n_dim);
}

/// Asks for the lines of n rows that are about to be written. Another core has just read them,
/// where one makes what another uses, and to take a line from it takes as long as to decode it.
template <class T>
HWY_INLINE void PrefetchRows(const BlockDecoding& decoding, const T* rows, std::size_t n) {
#if HWY_ARCH_X86 && HWY_COMPILER_GCC
  constexpr std::size_t kLine = 64;
  const std::size_t row_bytes = decoding.rotation.head_dim() * sizeof(T);
  for (std::size_t i = 0; i < n; ++i) {
    const auto* const row = reinterpret_cast<const std::byte*>(rows + i * decoding.row_stride);
    // No instruction set of Highway's has it, and processors without it do nothing.
    for (std::size_t at = 0; at < row_bytes; at += kLine) __asm__("prefetchw %0" ::"m"(row[at]));
  }
#else
  static_cast<void>(decoding), static_cast<void>(rows), static_cast<void>(n);
#endif
}

template <class T>
void DecodeCoded(const BlockDecoding& decoding, DecodeScratch& scratch, T* target) {
  const std::size_t n_dim = decoding.rotation.head_dim();
  float* const rows = scratch.rows.data();
  ReadPlanes(decoding, scratch);
  for (std::size_t token = 0; token < kPageTokens; token += kGroup) {
    T* const group = target + token * decoding.row_stride;
    if (token + kGroup < kPageTokens) {
      PrefetchRows(decoding, group + kGroup * decoding.row_stride, kGroup);
    }
    for (std::size_t i = 0; i < kGroup; i += kQuadTokens) {
      ReadQuad(decoding, scratch, token + i, rows + i * n_dim);
    }
    RotateScaledInverse(decoding.rotation, rows, kGroup, n_dim, scratch.factor.data(), group,
                        decoding.row_stride);
  }
}

template <class Source, class T>
void ConvertRows(const BlockDecoding& decoding, T* target) {
  const std::size_t n_dim = decoding.rotation.head_dim();
  const auto* source = reinterpret_cast<const Source*>(decoding.block.data());
  for (std::size_t token = 0; token < kPageTokens; ++token) {
    if constexpr (std::is_same_v<Source, T>) {
      std::memcpy(target, source, n_dim * sizeof(T));
    } else {
      for (std::size_t i = 0; i < n_dim; i += kRowLane) {
        StoreFloats(LoadAsFloats(source + i), target + i);
      }
    }
    source += n_dim;
    target += decoding.row_stride;
  }
}

template <class T>
void DecodeRaw(const BlockDecoding& decoding, T* target) {
  switch (decoding.format.row_type()) {
    case RowType::f16:
      return ConvertRows<Half>(decoding, target);
    case RowType::bf16:
      return ConvertRows<BFloat16>(decoding, target);
    case RowType::f32:
      return ConvertRows<float>(decoding, target);
  }
}

template <class T>
void DecodeTo(const BlockDecoding& decoding, DecodeScratch& scratch, T* target) {
  if (decoding.format.is_raw()) return DecodeRaw(decoding, target);
  DecodeCoded(decoding, scratch, target);
}

}  // namespace decode

void DecodeBlock(const BlockDecoding& decoding, DecodeScratch& scratch, std::byte* rows) {
  switch (decoding.row_type) {
    case RowType::f16:
      return decode::DecodeTo(decoding, scratch, reinterpret_cast<Half*>(rows));
    case RowType::bf16:
      return decode::DecodeTo(decoding, scratch, reinterpret_cast<BFloat16*>(rows));
    case RowType::f32:
      return decode::DecodeTo(decoding, scratch, reinterpret_cast<float*>(rows));
  }
}

}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::cpu {
namespace {

using DecodeFunction = void (*)(const BlockDecoding&, DecodeScratch&, std::byte*);
constexpr DecodeFunction kDecode[] = KVAULT_SIMD_TABLE(DecodeBlock);
constexpr std::size_t kDimMax = KVAULT_HEAD_DIM_MAX;
constexpr std::size_t kGroupMax = 16;

}  // namespace

DecodeScratch::DecodeScratch()
    : factor(kDimMax),
      mean(kDimMax),
      token_factor(kPageTokens),
      rows(kGroupMax * kDimMax),
      levels(kQuadTokens * kDimMax + kPackSlack),
      work(kQuadTokens * kDimMax / 2 + kPackSlack) {}

BlockDecoder::BlockDecoder(InstructionSet set) : decode_(kDecode[static_cast<std::size_t>(set)]) {
  KVAULT_ASSERT(decode_ != nullptr && is_supported(set));
}

void BlockDecoder::decode(const BlockDecoding& decoding, std::span<std::byte> rows) {
  const std::uint32_t head_dim = decoding.rotation.head_dim();
  KVAULT_ASSERT(decoding.block.size() == BlockLayout::of(decoding.format, head_dim).size_bytes);
  KVAULT_ASSERT(decoding.equaliser.empty() || decoding.equaliser.size() == head_dim);
  KVAULT_ASSERT(rows.size() == ((kPageTokens - 1) * decoding.row_stride + head_dim) *
                                   size_bytes_of(decoding.row_type));
  decode_(decoding, scratch_, rows.data());
}

}  // namespace kvault::cpu
#endif
