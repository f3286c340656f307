// Rows of codes from and to their packed bytes (docs/format.md, "pack") for one instruction set;
// see rotate-inl.hpp for how to include it. Whole vectors are read and written: up to kPackSlack
// bytes behind a row are read, or overwritten with anything.
#if defined(KVAULT_CORE_CPU_PACK_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVAULT_CORE_CPU_PACK_INL_HPP
#undef KVAULT_CORE_CPU_PACK_INL_HPP
#else
#define KVAULT_CORE_CPU_PACK_INL_HPP
#endif

#include <cstddef>
#include <cstdint>

#include "core/cpu/level_tables.hpp"
#include "core/cpu/pack_slack.hpp"
#include "core/cpu/simd_targets.hpp"

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace pack {
namespace hn = hwy::HWY_NAMESPACE;

using Bytes = hn::ScalableTag<std::uint8_t>;
using Shorts = hn::ScalableTag<std::uint16_t>;
using Words = hn::ScalableTag<std::uint32_t>;
using LongWords = hn::ScalableTag<std::uint64_t>;
inline constexpr std::size_t kWordLane = HWY_LANES(std::uint32_t);

/// Codes to the nibbles of 32-bit words, n / 2 bytes; n is a multiple of 32.
HWY_INLINE void MakeNibbles(const std::uint8_t* codes, std::size_t n, std::uint8_t* nibbles) {
  const Shorts d;
  const hn::Rebind<std::uint8_t, Shorts> d_half;
  constexpr std::size_t kCode = 2 * HWY_LANES(std::uint16_t);
  for (std::size_t i = 0; i < n; i += kCode) {
    const auto pairs = hn::BitCast(d, hn::LoadU(Bytes(), codes + i));
    const auto joined = hn::Or(pairs, hn::ShiftRight<4>(pairs));
    hn::StoreU(hn::TruncateTo(d_half, joined), d_half, nibbles + i / 2);
  }
}

/// Words w0, w1 of two-bit codes to w0 | w1 << 2.
HWY_INLINE void JoinNibbles2(const std::uint8_t* nibbles, std::size_t n, std::uint8_t* target) {
  const LongWords d;
  const hn::Rebind<std::uint32_t, LongWords> d_half;
  constexpr std::size_t kCode = 16 * HWY_LANES(std::uint64_t);
  for (std::size_t i = 0; i < n; i += kCode) {
    const auto pairs = hn::BitCast(d, hn::LoadU(Bytes(), nibbles + i / 2));
    const auto joined = hn::TruncateTo(d_half, hn::Or(pairs, hn::ShiftRight<30>(pairs)));
    const hn::Repartition<std::uint8_t, decltype(d_half)> d_bytes;
    hn::StoreU(hn::BitCast(d_bytes, joined), d_bytes, target + i / 4);
  }
}

/// In every group of four words the position of each word: 0, 1, 2, 3.
HWY_INLINE hn::Vec<Words> PlaceInGroup() {
  return hn::And(hn::Iota(Words(), 0), hn::Set(Words(), 3));
}

/// Words w0..w3 of three-bit codes to the three words w_j | bit j of w3's nibbles as their bit 3.
HWY_INLINE void JoinNibbles3(const std::uint8_t* nibbles, std::size_t n, std::uint8_t* target) {
  const Words d;
  alignas(64) std::int32_t index[kWordLane] = {};
  for (std::size_t i = 0; i < kWordLane / 4 * 3; ++i) {
    index[i] = static_cast<std::int32_t>(i / 3 * 4 + i % 3);
  }
  const auto three_of_four = hn::SetTableIndices(d, index);
  const auto place = PlaceInGroup();
  for (std::size_t i = 0; i < n; i += 8 * kWordLane) {
    const auto words = hn::BitCast(d, hn::LoadU(Bytes(), nibbles + i / 2));
    const auto last = hn::And(hn::Broadcast<3>(words) >> place, hn::Set(d, 0x11111111U));
    const auto joined = hn::Or(words, hn::ShiftLeft<3>(last));
    const auto dense = hn::TableLookupLanes(joined, three_of_four);
    hn::StoreU(hn::BitCast(Bytes(), dense), Bytes(), target + i / 8 * 3);
  }
}

/// Packed words of two-bit codes to nibble words.
HWY_INLINE void SplitNibbles2(const std::uint8_t* source, std::size_t n, std::uint8_t* nibbles) {
  const LongWords d;
  const hn::Rebind<std::uint32_t, LongWords> d_half;
  const hn::Repartition<std::uint8_t, decltype(d_half)> d_bytes;
  constexpr std::size_t kCode = 16 * HWY_LANES(std::uint64_t);
  const auto mask = hn::Set(d, 0x3333333333333333U);
  for (std::size_t i = 0; i < n; i += kCode) {
    const auto words = hn::BitCast(d_half, hn::LoadU(d_bytes, source + i / 4));
    const auto wide = hn::PromoteTo(d, words);
    const auto split = hn::And(hn::Or(wide, hn::ShiftLeft<30>(wide)), mask);
    hn::StoreU(hn::BitCast(Bytes(), split), Bytes(), nibbles + i / 2);
  }
}

/// Packed words of three-bit codes to nibble words, whose bit 3 may be anything.
HWY_INLINE void SplitNibbles3(const std::uint8_t* source, std::size_t n, std::uint8_t* nibbles) {
  const Words d;
  alignas(64) std::int32_t index[kWordLane];
  for (std::size_t i = 0; i < kWordLane; ++i) {
    index[i] = static_cast<std::int32_t>(i / 4 * 3 + (i % 4 < 3 ? i % 4 : 0));
  }
  const auto four_of_three = hn::SetTableIndices(d, index);
  const auto place = PlaceInGroup();
  const auto is_last = hn::Eq(place, hn::Set(d, 3));
  const auto mask = hn::IfThenZeroElse(is_last, hn::Set(d, 0x11111111U));
  for (std::size_t i = 0; i < n; i += 8 * kWordLane) {
    const auto dense = hn::BitCast(d, hn::LoadU(Bytes(), source + i / 8 * 3));
    const auto words = hn::TableLookupLanes(dense, four_of_three);
    const auto bits = hn::And(hn::ShiftRight<3>(words), mask) << place;
    const auto pairs = hn::Or(bits, hn::Shuffle2301(bits));
    const auto all = hn::Or(pairs, hn::Shuffle1032(pairs));
    hn::StoreU(hn::BitCast(Bytes(), hn::IfThenElse(is_last, all, words)), Bytes(), nibbles + i / 2);
  }
}

/// The nibbles of words to what the table says of each, n bytes.
HWY_INLINE void LookUpNibbles(const std::uint8_t* nibbles, std::size_t n, const NibbleLevels& table,
                              std::uint8_t* values) {
  const Shorts d;
  const hn::Rebind<std::uint8_t, Shorts> d_half;
  constexpr std::size_t kCode = 2 * HWY_LANES(std::uint16_t);
  const auto values_of = hn::LoadDup128(Bytes(), table.data());
  const auto mask = hn::Set(d, 0x0F0F);
  for (std::size_t i = 0; i < n; i += kCode) {
    const auto pairs = hn::PromoteTo(d, hn::LoadU(d_half, nibbles + i / 2));
    const auto codes = hn::And(hn::Or(pairs, hn::ShiftLeft<4>(pairs)), mask);
    hn::StoreU(hn::TableLookupBytes(values_of, hn::BitCast(Bytes(), codes)), Bytes(), values + i);
  }
}

}  // namespace pack

/// Packs n codes of a tq scheme. `work` [n / 2 + kPackSlack].
HWY_INLINE void PackCodes(Scheme scheme, const std::uint8_t* codes, std::size_t n,
                          std::uint8_t* work, std::uint8_t* target) {
  if (scheme == Scheme::tq4) return pack::MakeNibbles(codes, n, target);
  pack::MakeNibbles(codes, n, work);
  if (scheme == Scheme::tq3) return pack::JoinNibbles3(work, n, target);
  pack::JoinNibbles2(work, n, target);
}

/// n packed codes of a tq scheme to value_levels(). `work` [n / 2 + kPackSlack].
HWY_INLINE void UnpackLevels(Scheme scheme, const std::uint8_t* source, std::size_t n,
                             std::uint8_t* work, std::int8_t* levels) {
  const NibbleLevels table = value_levels(scheme);
  auto* const target = reinterpret_cast<std::uint8_t*>(levels);
  if (scheme == Scheme::tq4) return pack::LookUpNibbles(source, n, table, target);
  if (scheme == Scheme::tq3) {
    pack::SplitNibbles3(source, n, work);
  } else {
    pack::SplitNibbles2(source, n, work);
  }
  pack::LookUpNibbles(work, n, table, target);
}

}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
