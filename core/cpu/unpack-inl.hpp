// Blocks to tiles, a strip at a time; attend_kernels.hpp says what a tile is, docs/format.md how
// codes are packed. Once per instruction set.
#if defined(KVAULT_CPU_UNPACK_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVAULT_CPU_UNPACK_INL_HPP
#undef KVAULT_CPU_UNPACK_INL_HPP
#else
#define KVAULT_CPU_UNPACK_INL_HPP
#endif

#include "core/cpu/cell-inl.hpp"
#include "core/cpu/level_tables.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace {

constexpr std::size_t kQuads = kPageTokens / KVAULT_QUAD_N_TOKEN;
/// Beside which of a load's columns of keys a Prefetcher is called: so many that, with the
/// products, they ask for a block like their own. Products of words have places enough but for q8.
constexpr bool AsksBesideColumn(Scheme scheme, std::size_t column) {
  if (kForm == CellForm::words) return scheme == Scheme::q8 && column == 0;
  return scheme == Scheme::q8 || scheme == Scheme::tq4 ? column != 1 : column % 2 == 0;
}
/// The same of a strip's vectors of values, of which q8 has twice as many.
constexpr bool AsksBesideVector(Scheme scheme, std::size_t vector) {
  if (kForm == CellForm::words) return scheme == Scheme::q8 && vector == 0;
  return scheme == Scheme::q8 ? vector % 4 != 1 : vector == 0;
}
constexpr std::size_t kStepsPerQuad = kForm == CellForm::bytes ? 1 : 2;
constexpr std::size_t kBlocks = kLanes / 4;  ///< of 16 bytes in a vector

/// 16 bytes of each of the rows 0, 4, 8, ..: one per block of the vector.
HWY_INLINE Cells LoadBlocks(const std::byte* rows, std::size_t row_size_bytes) {
  const std::size_t stride = 4 * row_size_bytes;
  const auto* const at = reinterpret_cast<const std::uint8_t*>(rows);
#if HWY_TARGET == HWY_AVX3_DL
  const auto load = [&](std::size_t i) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + i * stride));
  };
  // Not inserted: that takes the port of all other shuffles, and a masked load does not.
  __m512i blocks = _mm512_castsi128_si512(load(0));
  blocks = _mm512_mask_broadcast_i32x4(blocks, 0x00F0, load(1));
  blocks = _mm512_mask_broadcast_i32x4(blocks, 0x0F00, load(2));
  return Cells{_mm512_mask_broadcast_i32x4(blocks, 0xF000, load(3))};
#elif HWY_TARGET == HWY_AVX2
  const auto load = [&](std::size_t i) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + i * stride));
  };
  return Cells{_mm256_inserti128_si256(_mm256_castsi128_si256(load(0)), load(1), 1)};
#else
  static_assert(kBlocks == 1);
  (void)stride;
  return hn::BitCast(CellTag(), hn::LoadU(ByteTag(), at));
#endif
}

/// Four columns of words of kLanes rows, rows to lanes.
struct Columns {
  Cells word[4];
};
HWY_INLINE Columns LoadColumns(const std::byte* rows, std::size_t row_size_bytes) {
  const CellTag d;
  const WideTag d_wide;
  const Cells r0 = LoadBlocks(rows, row_size_bytes);
  const Cells r1 = LoadBlocks(rows + row_size_bytes, row_size_bytes);
  const Cells r2 = LoadBlocks(rows + 2 * row_size_bytes, row_size_bytes);
  const Cells r3 = LoadBlocks(rows + 3 * row_size_bytes, row_size_bytes);
  const auto low01 = hn::BitCast(d_wide, hn::InterleaveLower(d, r0, r1));
  const auto high01 = hn::BitCast(d_wide, hn::InterleaveUpper(d, r0, r1));
  const auto low23 = hn::BitCast(d_wide, hn::InterleaveLower(d, r2, r3));
  const auto high23 = hn::BitCast(d_wide, hn::InterleaveUpper(d, r2, r3));
  return {{hn::BitCast(d, hn::InterleaveLower(d_wide, low01, low23)),
           hn::BitCast(d, hn::InterleaveUpper(d_wide, low01, low23)),
           hn::BitCast(d, hn::InterleaveLower(d_wide, high01, high23)),
           hn::BitCast(d, hn::InterleaveUpper(d_wide, high01, high23))}};
}

/// The fourth nibble word of 32 codes of three bits, from the spare bits of the other three.
HWY_INLINE Cells SpreadWord(const Columns& c) {
  const CellTag d;
  const Cells bit0 = hn::And(hn::ShiftRight<3>(c.word[0]), hn::Set(d, 0x11111111U));
  const Cells bit1 = hn::And(hn::ShiftRight<2>(c.word[1]), hn::Set(d, 0x22222222U));
  const Cells bit2 = hn::And(hn::ShiftRight<1>(c.word[2]), hn::Set(d, 0x44444444U));
  return hn::Or(bit0, hn::Or(bit1, bit2));
}

/// Writes the cells of kLanes tokens, step by step; a step is kStepStride cells from the next.
template <std::size_t kStepStride>
class KeyCells {
 public:
  explicit KeyCells(std::uint32_t* at) : at_(at) {}
  /// Eight codes of every lane, levels as bytes: even codes, odd codes.
  HWY_INLINE void put(Cells bytes) {
#if KVAULT_CPU_BYTES
    store(bytes);
#else
    const WordTag d;
    const auto words = hn::BitCast(d, bytes);
    store(hn::BitCast(CellTag(), hn::And(words, hn::Set(d, std::uint16_t{0xFF}))));
    store(hn::BitCast(CellTag(), hn::ShiftRight<8>(words)));
#endif
  }

 private:
  HWY_INLINE void store(Cells cells) {
    hn::Store(cells, CellTag(), at_);
    at_ += kStepStride;
  }
  std::uint32_t* at_;
};

template <Scheme kScheme, std::size_t kColumn, std::size_t kStepStride>
HWY_INLINE void PutColumns(const NibbleTable& table, const Columns& columns,
                           KeyCells<kStepStride>& cells, Prefetcher& prefetcher) {
  const auto put_nibbles = [&](Cells word) {
    cells.put(table(word));
    cells.put(table(hn::ShiftRight<4>(word)));
  };
  KVAULT_UNROLL
  for (std::size_t i = 0; i < kColumn; ++i) {
    if (AsksBesideColumn(kScheme, i)) prefetcher.advance();
    const Cells word = columns.word[i];
    if constexpr (kScheme == Scheme::q8) {
      cells.put(hn::Xor(word, hn::Set(CellTag(), 0x80808080U)));  // code + 128
    } else {
      put_nibbles(word);
      if constexpr (kScheme == Scheme::tq2) put_nibbles(hn::ShiftRight<2>(word));
    }
  }
  if constexpr (kScheme == Scheme::tq3) put_nibbles(SpreadWord(columns));
}

/// Keys of tokens [first, first + n_token) to a tile; n_token is a multiple of kLanes. A step's
/// cells are kStepStride from the next's, and kLanes tokens' vector_stride from the next's.
template <Scheme kScheme, std::size_t kStepStride>
void UnpackKeyStrip(const PackedCodes& codes, std::size_t first, std::size_t n_token,
                    std::size_t vector_stride, std::uint32_t* tile, Prefetcher& shared_prefetcher) {
  // Words per load: three make a group of 32 codes of three bits.
  constexpr std::size_t kWords = kScheme == Scheme::tq3 ? 3 : 4;
  const std::size_t n_word = codes.padded_dim * code_bits_of(kScheme) / 32;
  const std::size_t row_size_bytes = n_word * 4;
  const NibbleTable table(key_levels(kScheme).data());
  Prefetcher prefetcher = shared_prefetcher;  // in registers
  for (std::size_t token = 0; token < n_token; token += kLanes, tile += vector_stride) {
    const std::byte* row = codes.codes + (first + token) * row_size_bytes;
    const std::byte* const row_end = row + row_size_bytes;
    KeyCells<kStepStride> cells(tile);
    for (; row + kWords * 4 <= row_end; row += kWords * 4) {
      PutColumns<kScheme, kWords>(table, LoadColumns(row, row_size_bytes), cells, prefetcher);
    }
    if constexpr (kScheme == Scheme::tq2) {  // the others fill their last load: D' % 32 == 0
      if (row != row_end) {
        PutColumns<kScheme, 2>(table, LoadColumns(row, row_size_bytes), cells, prefetcher);
      }
    }
  }
  shared_prefetcher = prefetcher;
}

#if KVAULT_CPU_BYTES
// Interleaving bytes stays within 128 bits, so the quarters of a row are woven first: its pairs of
// words stand in the order 0 4 1 5 2 6 3 7, and dims come out in theirs.

/// Nibble words of a quad row, woven: each holds two dims of four tokens. Reads what kLanes words
/// are packed in.
template <Scheme kScheme>
HWY_INLINE __m512i LoadWovenWords(const std::byte* at) {
  if constexpr (kScheme == Scheme::tq2) {
    // Every word, and beside it the same shifted right by two; a nibble's upper bits are ignored.
    const __m512i order = _mm512_setr_epi32(0, 0, 4, 0, 1, 0, 5, 0, 2, 0, 6, 0, 3, 0, 7, 0);
    const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    const __m512i wide =
        _mm512_maskz_permutexvar_epi32(0x5555, order, _mm512_castsi256_si512(packed));
    return _mm512_or_si512(wide, _mm512_slli_epi64(wide, 30));
  } else if constexpr (kScheme == Scheme::tq3) {
    // Three words of every group of four; a pair in place n, its first two, has the rest in n + 2.
    const __m512i order = _mm512_setr_epi32(0, 1, 6, 7, 2, 2, 8, 8, 3, 4, 9, 10, 5, 5, 11, 11);
    const __m512i words = _mm512_permutexvar_epi32(order, _mm512_loadu_si512(at));
    const __m512i spare =
        _mm512_maskz_and_epi32(0x5F5F, words, _mm512_set1_epi32(static_cast<int>(0x88888888U)));
    // The spare bits of words 0, 1 and 2 become bits 0, 1 and 2 of word 3: in a pair's upper half
    // word 0 is shifted right by 3 and word 1 by 2, in the next pair's word 2 by 1.
    const __m512i outer =
        _mm512_sllv_epi64(spare, _mm512_setr_epi64(29, 29, 31, 31, 29, 29, 31, 31));
    const __m512i inner = _mm512_srlv_epi64(spare, _mm512_setr_epi64(2, 2, 64, 64, 2, 2, 64, 64));
    const __m512i spread = _mm512_or_si512(outer, inner);
    const __m512i from_first = _mm512_alignr_epi64(spread, spread, 6);
    return _mm512_mask_or_epi32(words, 0xA0A0, spread, from_first);
  } else {
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7),
                                    _mm512_loadu_si512(at));
  }
}

/// kLanes nibble words to two vectors of cells, dims in order.
template <Scheme kScheme, std::size_t>
HWY_INLINE void PutNibbleWords(const NibbleTable& table, const std::byte* at, std::uint32_t* step,
                               std::size_t vector_stride) {
  const __m512i woven = LoadWovenWords<kScheme>(at);
  const __m512i odd = _mm512_srli_epi16(woven, 4);
  const Cells low{_mm512_unpacklo_epi8(woven, odd)};
  const Cells high{_mm512_unpackhi_epi8(woven, odd)};
  hn::Store(table(low), CellTag(), step);
  hn::Store(table(high), CellTag(), step + vector_stride);
}
#else
/// Words of groups of four, the fourth made of the spare bits of the three before it.
HWY_INLINE Cells WithSpreadWords(Cells words) {
  const CellTag d;
  const WideTag d_wide;
  alignas(16) static constexpr std::uint32_t kSpare[4] = {0x88888888U, 0x88888888U, 0x88888888U, 0};
  alignas(16) static constexpr std::uint64_t kOuter[2] = {29, 31};
  const auto spare = hn::BitCast(d_wide, hn::And(words, hn::LoadDup128(d, kSpare)));
  // To the upper halves of pairs: word 0 shifted right by 3, word 1 by 2; word 2 by 1.
  const auto outer = hn::Shl(spare, hn::LoadDup128(d_wide, kOuter));
  const Cells halves = hn::BitCast(d, hn::Or(outer, hn::ShiftRight<2>(spare)));
  const Cells spread = hn::Or(halves, hn::Shuffle1032(halves));
#if HWY_TARGET == HWY_AVX2
  return Cells{_mm256_blend_epi32(words.raw, spread.raw, 0x88)};
#else
  alignas(16) static constexpr std::uint32_t kCodes[4] = {~0U, ~0U, ~0U, 0};
  const Cells keep = hn::LoadDup128(d, kCodes);
  return hn::Or(hn::And(words, keep), hn::AndNot(keep, spread));
#endif
}

/// Nibble words of a quad row, in order: each holds two dims of four tokens. Reads what
/// kLanes words are packed in.
template <Scheme kScheme>
HWY_INLINE Cells LoadNibbleWords(const std::byte* at) {
  const CellTag d;
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(at);
  if constexpr (kScheme == Scheme::tq2) {
    const hn::Half<CellTag> d_half;
    const hn::Repartition<std::uint8_t, hn::Half<CellTag>> d_half_bytes;
    const auto packed = hn::BitCast(d_half, hn::LoadU(d_half_bytes, bytes));
    const auto wide = hn::PromoteTo(WideTag(), packed);
    // Every word, and beside it the same shifted right by two; a nibble's upper bits are ignored.
    return hn::BitCast(d, hn::Or(wide, hn::ShiftLeft<30>(wide)));
  } else if constexpr (kScheme == Scheme::tq3) {
    alignas(64) static constexpr std::uint32_t kGroups[16] = {0, 1, 2, 2, 3, 4,  5,  5,
                                                              6, 7, 8, 8, 9, 10, 11, 11};
    const Cells packed = hn::BitCast(d, hn::LoadU(ByteTag(), bytes));
    return WithSpreadWords(hn::TableLookupLanes(packed, hn::SetTableIndices(d, kGroups)));
  } else {
    return hn::BitCast(d, hn::LoadU(ByteTag(), bytes));
  }
}

/// Levels of kLanes nibble words as words, in the order of the bytes.
struct LevelWords {
  Cells low;
  Cells high;
};
HWY_INLINE LevelWords WidenLevels(Cells levels) {
#if HWY_TARGET == HWY_AVX2
  // Interleaved with their signs: to sign-extend takes one port of three, twice for an upper half.
  // The bytes were woven as interleaving wants them.
  const __m256i signs = _mm256_cmpgt_epi8(_mm256_setzero_si256(), levels.raw);
  return {Cells{_mm256_unpacklo_epi8(levels.raw, signs)},
          Cells{_mm256_unpackhi_epi8(levels.raw, signs)}};
#else
  const auto bytes = hn::BitCast(SignedByteTag(), levels);
  const SignedWordTag d;
  const auto upper = hn::UpperHalf(hn::Half<SignedByteTag>(), bytes);
  return {hn::BitCast(CellTag(), hn::PromoteTo(d, hn::LowerHalf(bytes))),
          hn::BitCast(CellTag(), hn::PromoteTo(d, upper))};
#endif
}

/// kLanes nibble words to twice two vectors of cells: tokens 0 and 2, and a step on, 1 and 3.
template <Scheme kScheme, std::size_t kStepStride>
HWY_INLINE void PutNibbleWords(const NibbleTable& table, const std::byte* at, std::uint32_t* step,
                               std::size_t vector_stride) {
  const CellTag d;
  Cells words = LoadNibbleWords<kScheme>(at);
#if HWY_TARGET == HWY_AVX2
  words = Cells{_mm256_permute4x64_epi64(words.raw, _MM_SHUFFLE(3, 1, 2, 0))};
#endif
  const auto put = [&](Cells nibbles, std::uint32_t* target) {
    const LevelWords levels = WidenLevels(table(nibbles));
    hn::Store(levels.low, d, target);
    hn::Store(levels.high, d, target + vector_stride);
  };
  put(words, step);
  put(hn::ShiftRight<4>(words), step + kStepStride);
}
#endif

/// q8: a quad row is cells already.
template <std::size_t kStepStride>
HWY_INLINE void PutBytes(const std::byte* at, std::uint32_t* step) {
  const CellTag d;
  const Cells bytes =
      hn::BitCast(d, hn::LoadU(ByteTag(), reinterpret_cast<const std::uint8_t*>(at)));
#if KVAULT_CPU_BYTES
  hn::Store(bytes, d, step);
#else
  const auto words = hn::BitCast(SignedWordTag(), bytes);
  hn::Store(hn::BitCast(d, hn::ShiftRight<8>(hn::ShiftLeft<8>(words))), d, step);
  hn::Store(hn::BitCast(d, hn::ShiftRight<8>(words)), d, step + kStepStride);
#endif
}

/// Values of dims [first, first + n_dim) to a tile; n_dim is a multiple of 32. Strides as of keys,
/// where the items are dims.
template <Scheme kScheme, std::size_t kStepStride>
void UnpackValueStrip(const PackedCodes& codes, std::size_t first, std::size_t n_dim,
                      std::size_t vector_stride, std::uint32_t* tile,
                      Prefetcher& shared_prefetcher) {
  constexpr std::size_t kDimBits = KVAULT_QUAD_N_TOKEN * code_bits_of(kScheme);
  constexpr std::size_t kVectors = kScheme == Scheme::q8 ? 1 : 2;  // a nibble word is two dims
  constexpr std::size_t kLoadBytes = kVectors * kLanes * kDimBits / 8;
  const std::size_t row_size_bytes = codes.padded_dim * kDimBits / 8;
  const std::byte* row = codes.codes + first * kDimBits / 8;
  const NibbleTable table(value_levels(kScheme).data());
  Prefetcher prefetcher = shared_prefetcher;  // in registers
  for (std::size_t quad = 0; quad < kQuads; ++quad, row += row_size_bytes) {
    std::uint32_t* step = tile + quad * kStepsPerQuad * kStepStride;
    for (std::size_t load = 0; load < n_dim / (kVectors * kLanes); ++load) {
      if (AsksBesideVector(kScheme, load)) prefetcher.advance();
      if constexpr (kScheme == Scheme::q8) {
        PutBytes<kStepStride>(row + load * kLoadBytes, step);
      } else {
        PutNibbleWords<kScheme, kStepStride>(table, row + load * kLoadBytes, step, vector_stride);
      }
      step += kVectors * vector_stride;
    }
  }
  shared_prefetcher = prefetcher;
}

}  // namespace
}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
