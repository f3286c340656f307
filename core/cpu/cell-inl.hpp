// What the kernels of attend_kernels.hpp share, once per instruction set (Highway's way of
// including a header once per target).
#if defined(KVAULT_CPU_CELL_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVAULT_CPU_CELL_INL_HPP
#undef KVAULT_CPU_CELL_INL_HPP
#else
#define KVAULT_CPU_CELL_INL_HPP
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "core/cpu/attend_kernels.hpp"

// Bytes need vpdpbusd, which Highway 1.0 neither has nor asks the compiler for. GCC hands it to the
// assembler unasked; clang is given words instead.
#undef KVAULT_CPU_BYTES
#if HWY_TARGET == HWY_AVX3_DL && HWY_COMPILER_GCC_ACTUAL
#define KVAULT_CPU_BYTES 1
#else
#define KVAULT_CPU_BYTES 0
#endif

#undef KVAULT_CPU_VEX_VNNI
#if HWY_TARGET == HWY_AVX2 && HWY_COMPILER_GCC_ACTUAL
#define KVAULT_CPU_VEX_VNNI 1
#else
#define KVAULT_CPU_VEX_VNNI 0
#endif

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr CellForm kForm = KVAULT_CPU_BYTES ? CellForm::bytes : CellForm::words;
inline constexpr std::size_t kPlanes = n_plane(kForm);
inline constexpr std::size_t kQueryCells = plane_cells(kForm);
inline constexpr std::size_t kWeightCells = weight_cells(kForm);

using CellTag = hn::CappedTag<std::uint32_t, 16>;
using Cells = hn::Vec<CellTag>;
using ByteTag = hn::Repartition<std::uint8_t, CellTag>;
using SignedByteTag = hn::Repartition<std::int8_t, CellTag>;
using WordTag = hn::Repartition<std::uint16_t, CellTag>;
using SignedWordTag = hn::Repartition<std::int16_t, CellTag>;
using WideTag = hn::Repartition<std::uint64_t, CellTag>;
using SumTag = hn::RebindToSigned<CellTag>;
using Sums = hn::Vec<SumTag>;
using FloatTag = hn::RebindToFloat<CellTag>;
inline constexpr std::size_t kLanes = hn::MaxLanes(CellTag());

/// A table of 16 bytes, looked up by the low nibble of every byte; the high nibble may hold
/// anything.
class NibbleTable {
 public:
  explicit NibbleTable(const std::uint8_t* entries) {
#if KVAULT_CPU_BYTES
    table_ = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
#else
    table_ = hn::LoadDup128(ByteTag(), entries);
#endif
  }
  HWY_INLINE Cells operator()(Cells indices) const {
#if KVAULT_CPU_BYTES
    // vpermb takes six bits of index: four equal quarters make the upper two do not matter.
    return Cells{_mm512_permutexvar_epi8(indices.raw, table_)};
#else
    const ByteTag d;
    const auto low = hn::And(hn::BitCast(d, indices), hn::Set(d, std::uint8_t{0x0F}));
    return hn::BitCast(CellTag(), hn::TableLookupBytes(table_, low));
#endif
  }

 private:
#if KVAULT_CPU_BYTES
  __m512i table_;
#else
  hn::Vec<ByteTag> table_;
#endif
};

// A way of adding to every lane the products of a cell of the tile and one of the other side.
#if KVAULT_CPU_BYTES
struct DotBytes {
  static HWY_INLINE Sums key(Sums sum, Cells tile, Cells query) { return add(sum, tile, query); }
  static HWY_INLINE Sums value(Sums sum, Cells tile, Cells weight) {
    return add(sum, weight, tile);
  }

 private:
  // Not the intrinsic: GCC 12 copies every sum before and after it, which is half of the loop.
  static HWY_INLINE Sums add(Sums sum, Cells unsigned_bytes, Cells signed_bytes) {
    __m512i result = sum.raw;
    __asm__("vpdpbusd %2, %1, %0" : "+v"(result) : "v"(unsigned_bytes.raw), "v"(signed_bytes.raw));
    return Sums{result};
  }
};
using Dot = DotBytes;
#else
HWY_INLINE Sums AddWordProducts(Sums sum, Cells a, Cells b) {
#if HWY_TARGET == HWY_AVX3_DL
  return hn::Add(sum, Sums{_mm512_madd_epi16(a.raw, b.raw)});
#elif HWY_TARGET == HWY_AVX2
  // One piece: apart, GCC 12 moves every product ahead of the sums and spills.
  __m256i result = sum.raw;
  __m256i product;
  __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
          : "+x"(result), "=&x"(product)
          : "x"(a.raw), "x"(b.raw));
  return Sums{result};
#elif HWY_TARGET == HWY_NEON
  const int16x8_t x = vreinterpretq_s16_u32(a.raw);
  const int16x8_t y = vreinterpretq_s16_u32(b.raw);
  const int32x4_t low = vmull_s16(vget_low_s16(x), vget_low_s16(y));
  const int32x4_t high = vmull_high_s16(x, y);
  return hn::Add(sum, Sums(vpaddq_s32(low, high)));
#else
  const SumTag d;
  const auto x = hn::BitCast(d, a);
  const auto y = hn::BitCast(d, b);
  const auto low =
      hn::Mul(hn::ShiftRight<16>(hn::ShiftLeft<16>(x)), hn::ShiftRight<16>(hn::ShiftLeft<16>(y)));
  return hn::Add(sum, hn::Add(low, hn::Mul(hn::ShiftRight<16>(x), hn::ShiftRight<16>(y))));
#endif
}
struct DotWords {
  static HWY_INLINE Sums key(Sums sum, Cells tile, Cells query) {
    return AddWordProducts(sum, tile, query);
  }
  static HWY_INLINE Sums value(Sums sum, Cells tile, Cells weight) {
    return AddWordProducts(sum, tile, weight);
  }
};
using Dot = DotWords;
#endif

#if KVAULT_CPU_VEX_VNNI
/// The same in one instruction, on the processors of InstructionSet::avx_vnni.
struct DotVnni {
  static HWY_INLINE Sums key(Sums sum, Cells tile, Cells query) { return add(sum, tile, query); }
  static HWY_INLINE Sums value(Sums sum, Cells tile, Cells weight) {
    return add(sum, tile, weight);
  }

 private:
  static HWY_INLINE Sums add(Sums sum, Cells a, Cells b) {
    __m256i result = sum.raw;
    __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(result) : "x"(a.raw), "x"(b.raw));
    return Sums{result};
  }
};
#endif

/// To the second-level cache: requests for the first are few, and a block is more than it can hold.
HWY_INLINE void PrefetchLine(std::uintptr_t address) {
  const auto* const at = reinterpret_cast<const char*>(address);
#if HWY_ARCH_X86
  _mm_prefetch(at, _MM_HINT_T1);
#else
  hwy::Prefetch(at);
#endif
}

/// Asks for the lines of an Ahead, one at a time and its streams in turn, from many places of the
/// work beside it. Measured: neighbours that are asked for at once take up to 1.7 times as long as
/// neighbours a few cycles apart, and so do lines out of order (docs/benchmarks/cpu.md).
class Prefetcher {
 public:
  Prefetcher() = default;
  explicit Prefetcher(const Ahead& ahead) : ahead_(ahead) {}

  HWY_INLINE void advance() {
    if (ahead_.n_line == 0) return;
    PrefetchLine(ahead_.at);
    --ahead_.n_line;
    ahead_.at += ahead_.steps[ahead_.n_line % kAheadStreams];
  }
  /// Asks for what the work had no places for.
  HWY_INLINE void finish() {
    while (ahead_.n_line != 0) advance();
  }

 private:
  Ahead ahead_;
};

}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
