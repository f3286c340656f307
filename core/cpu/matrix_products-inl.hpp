// The integer products of a strip in tile registers (AMX), here called matrices; attend_kernels.hpp
// says what a tile of cells is. Once per instruction set.
#if defined(KVAULT_CPU_MATRIX_PRODUCTS_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVAULT_CPU_MATRIX_PRODUCTS_INL_HPP
#undef KVAULT_CPU_MATRIX_PRODUCTS_INL_HPP
#else
#define KVAULT_CPU_MATRIX_PRODUCTS_INL_HPP
#endif

#include <algorithm>

#include "core/cpu/sums-inl.hpp"
#include "core/cpu/unpack-inl.hpp"

#if KVAULT_CPU_BYTES

// A matrix has 16 rows of 64 bytes. Of the other side, rows are planes (two of each row of queries)
// and bytes 16 cells; of the tile, rows are 16 steps and bytes the cells of 16 items. Both lie in
// memory as the vector products want them, and the sums are the same integers.

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace {

constexpr std::size_t kMatrixRows = 16;
constexpr std::size_t kMatrixCells = 16;
constexpr std::size_t kMatrixRowBytes = kMatrixCells * sizeof(std::uint32_t);
/// Rows of queries in one matrix.
constexpr std::size_t kMatrixQueries = kMatrixRows / kPlanes;
static_assert(kPlanes == 2 && kMatrixCells == kLanes && kMatrixQueries == kRowGroupMax);

/// Which registers hold what: sums from 0 on, then the other side, then cells.
constexpr int kOther = 4;
constexpr int kCells = 5;

// Assembly: the intrinsics of GCC 12 do not say that they read memory.
template <int kMatrix>
HWY_INLINE void ClearMatrix() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kMatrix));
}
template <int kMatrix>
HWY_INLINE void LoadMatrix(const std::uint32_t* cells, std::size_t stride) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(kMatrix), "r"(cells),
               "r"(stride * sizeof(std::uint32_t))
               : "memory");
}
template <int kMatrix>
HWY_INLINE void StoreMatrix(std::int32_t* sums) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(kMatrix), "r"(sums), "r"(kMatrixRowBytes)
               : "memory");
}
/// sums += other side * cells. Codes are unsigned among keys, weights among values.
template <Side kSide, int kSum, int kMatrix>
HWY_INLINE void MultiplyMatrix() {
  if constexpr (kSide == Side::key) {
    asm volatile("tdpbsud %%tmm%c1, %%tmm%c2, %%tmm%c0" ::"i"(kSum), "i"(kMatrix), "i"(kOther));
  } else {
    asm volatile("tdpbusd %%tmm%c1, %%tmm%c2, %%tmm%c0" ::"i"(kSum), "i"(kMatrix), "i"(kOther));
  }
}

/// What LDTILECFG reads: Intel 64 manual, volume 1, 18.3.
struct alignas(ThreadSetting) MatrixShapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t n_row[16] = {};
};
static_assert(sizeof(MatrixShapes) == sizeof(ThreadSetting));

/// Loads and stores take as long as a matrix has rows: the other side is given no more than it
/// needs.
void EnterMatrices(std::size_t n_row, ThreadSetting& before) {
  const std::size_t n_plane_row = kPlanes * std::min(n_row, kMatrixQueries);
  MatrixShapes shapes;
  for (int i = 0; i < 8; ++i) {
    shapes.row_bytes[i] = kMatrixRowBytes;
    shapes.n_row[i] = static_cast<std::uint8_t>(i < kCells ? n_plane_row : kMatrixRows);
  }
  asm volatile("sttilecfg %0" : "=m"(before));
  asm volatile("ldtilecfg %0" ::"m"(shapes));
}
/// An engine that uses tiles too may have shaped them once, on a thread that it lends us.
void LeaveMatrices(const ThreadSetting& before) { asm volatile("ldtilecfg %0" ::"m"(before)); }

/// n_step, rounded up.
constexpr std::size_t whole_matrices(std::size_t n_step) {
  return (n_step + kMatrixCells - 1) / kMatrixCells * kMatrixCells;
}

/// Items of a tile: all tokens of a page, so that few products wait for cells that have just been
/// stored, and their sums are read long after they are stored.
constexpr std::size_t kMatrixStrip = 64;

/// Sums of a strip for up to kMatrixQueries rows of queries, by pairs and quads of matrices.
template <Side kSide>
class MatrixSums {
 public:
  /// cells: a tile, n_step a multiple of 16, n_item of 32; other: planes of plane_cells.
  HWY_INLINE void compute(const std::uint32_t* cells, std::size_t n_item, std::size_t n_step,
                          const std::uint32_t* other, std::size_t plane_cells,
                          Prefetcher& prefetcher) {
    std::size_t item = 0;
    for (; item + 4 * kMatrixCells <= n_item; item += 4 * kMatrixCells) {
      compute_some<4>(cells + item * n_step, n_step, other, plane_cells, prefetcher,
                      sums_[item / kMatrixCells]);
    }
    for (; item < n_item; item += 2 * kMatrixCells) {
      compute_some<2>(cells + item * n_step, n_step, other, plane_cells, prefetcher,
                      sums_[item / kMatrixCells]);
    }
  }
  /// Of kMatrixCells items.
  HWY_INLINE Sums total(std::size_t query, std::size_t item) const {
    const SumTag d;
    const std::int32_t* const planes = sums_[item / kMatrixCells] + query * kPlanes * kMatrixCells;
    return JoinPlanes(hn::Load(d, planes), hn::Load(d, planes + kMatrixCells));
  }

 private:
  template <std::size_t kMatrix>
  static HWY_INLINE void compute_some(const std::uint32_t* cells, std::size_t n_step,
                                      const std::uint32_t* other, std::size_t plane_cells,
                                      Prefetcher& prefetcher, std::int32_t* sums) {
    ClearMatrix<0>();
    ClearMatrix<1>();
    if constexpr (kMatrix == 4) {
      ClearMatrix<2>();
      ClearMatrix<3>();
    }
    for (std::size_t step = 0; step < n_step; step += kMatrixCells) {
      LoadMatrix<kOther>(other + step, plane_cells);
      take_step<kMatrix>(cells + step * kMatrixCells, n_step * kMatrixCells, prefetcher);
    }
    StoreMatrix<0>(sums);
    StoreMatrix<1>(sums + kMatrixSums);
    if constexpr (kMatrix == 4) {
      StoreMatrix<2>(sums + 2 * kMatrixSums);
      StoreMatrix<3>(sums + 3 * kMatrixSums);
    }
  }
  template <std::size_t kMatrix>
  static HWY_INLINE void take_step(const std::uint32_t* cells, std::size_t stride,
                                   Prefetcher& prefetcher) {
    load<kCells>(cells, prefetcher);
    load<kCells + 1>(cells + stride, prefetcher);
    multiply<0, kCells>(prefetcher);
    multiply<1, kCells + 1>(prefetcher);
    if constexpr (kMatrix == 4) {
      load<kCells + 2>(cells + 2 * stride, prefetcher);
      load<kCells>(cells + 3 * stride, prefetcher);
      multiply<2, kCells + 2>(prefetcher);
      multiply<3, kCells>(prefetcher);
    }
  }
  template <int kMatrix>
  static HWY_INLINE void load(const std::uint32_t* cells, Prefetcher& prefetcher) {
    prefetcher.advance();
    LoadMatrix<kMatrix>(cells, kMatrixCells);
  }
  template <int kSum, int kMatrix>
  static HWY_INLINE void multiply(Prefetcher& prefetcher) {
    prefetcher.advance();
    MultiplyMatrix<kSide, kSum, kMatrix>();
  }

  static constexpr std::size_t kMatrixSums = kMatrixRows * kMatrixCells;
  alignas(64) std::int32_t sums_[kMatrixStrip / kMatrixCells][kMatrixSums];
};

/// pre: between EnterMatrices and LeaveMatrices
struct MatrixProducts {
  static constexpr std::size_t kStrip = kMatrixStrip;
  /// A tile is [n_item / 16][n_step][16]: a matrix is one piece of memory.
  static constexpr std::size_t kStepStride = kMatrixCells;
  static constexpr std::size_t vector_stride(std::size_t n_step) {
    return whole_matrices(n_step) * kMatrixCells;
  }

  static HWY_INLINE void take_keys(const KeyLogits& args, std::size_t first,
                                   Prefetcher& prefetcher) {
    const std::size_t n_step = whole_matrices(args.n_step);
    // Steps that fill the last matrix: nothing, whatever the queries' cells beside them hold.
    for (std::size_t token = 0; token < kStrip && args.n_step < n_step; token += kMatrixCells) {
      std::uint32_t* const cells = args.tile + token * n_step;
      std::fill(cells + args.n_step * kMatrixCells, cells + n_step * kMatrixCells, 0U);
    }
    Prefetcher none;
    MatrixSums<Side::key> sums;
    for (std::size_t row = 0; row < args.n_row; row += kMatrixQueries) {
      sums.compute(args.tile, kStrip, n_step, args.query + row * kPlanes * kQueryCells, kQueryCells,
                   row == 0 ? prefetcher : none);
      const std::size_t n_row = std::min(args.n_row - row, kMatrixQueries);
      for (std::size_t r = 0; r < n_row; ++r) {
        const std::int32_t* const start = args.rows[row + r].start;
        const Sums from = hn::Set(SumTag(), start[0] * 256 + start[1]);
        const LogitsOf logits(args, row + r);
        for (std::size_t token = 0; token < kStrip; token += kMatrixCells) {
          logits.store(first + token, hn::Add(sums.total(r, token), from));
        }
      }
    }
  }

  static HWY_INLINE void take_values(const ValueSums& args, std::size_t first, std::size_t n_dim,
                                     Prefetcher& prefetcher) {
    Prefetcher none;
    MatrixSums<Side::value> sums;
    for (std::size_t row = 0; row < args.n_row; row += kMatrixQueries) {
      sums.compute(args.tile, n_dim, kQuads * kStepsPerQuad,
                   args.weights + row * kPlanes * kWeightCells, kWeightCells,
                   row == 0 ? prefetcher : none);
      const std::size_t n_row = std::min(args.n_row - row, kMatrixQueries);
      for (std::size_t r = 0; r < n_row; ++r) {
        const OutputOf output(args, row + r);
        for (std::size_t dim = 0; dim < n_dim; dim += kMatrixCells) {
          output.add(first + dim, sums.total(r, dim));
        }
      }
    }
  }
};

}  // namespace
}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // KVAULT_CPU_BYTES
#endif
