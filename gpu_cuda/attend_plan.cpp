#include "gpu_cuda/attend_plan.hpp"

#include <algorithm>
#include <span>

#include "core/layout/block_layout.hpp"

namespace kvault::cuda {
namespace {

/// Splits of a tile: many, so that one long sequence fills a device, but no more than are merged
/// fast.
constexpr std::uint64_t kSplitsMax = 128;
/// A warp of a block takes every fourth page.
constexpr std::uint64_t kSplitPagesMin = 4;
/// Of a block that takes many rows at once: enough pages to be worth its queries and results, one
/// for every eight rows, but no more than the float sums of tensor cores, which round down, are
/// good for.
constexpr std::uint64_t kPrefillPagesMin = 8;
constexpr std::uint64_t kPrefillPagesMax = 64;
/// Items that fill a device several times over.
constexpr std::uint64_t kPrefillItems = 1024;
constexpr std::uint64_t kWaveBytes = std::uint64_t{64} << 20U;
constexpr std::uint64_t kAlignmentBytes = 256;

std::uint64_t split_pages_of(std::uint64_t n_page) {
  const std::uint64_t least = (n_page + kSplitsMax - 2) / (kSplitsMax - 1);
  return std::max(kSplitPagesMin, align_up(least, kSplitPagesMin));
}

/// `n_block`: that take the rows of all kv heads, many at once; `n_row`: of a kv head.
std::uint64_t prefill_split_pages_of(std::uint64_t n_page, std::uint64_t n_block,
                                     std::uint32_t n_row) {
  const std::uint64_t wanted = align_up(n_page * n_block / kPrefillItems, kSplitPagesMin);
  const std::uint64_t least =
      std::min(kPrefillPagesMin, align_up((n_row - 1) / kColumns + 1, kSplitPagesMin));
  return std::max(std::clamp(wanted, least, kPrefillPagesMax), split_pages_of(n_page));
}

class Planner {
 public:
  Planner(const AttendArgs& args, const AttendPolicy& policy) : args_(args), policy_(policy) {}

  std::vector<AttendWave> plan() {
    for (std::uint32_t i = 0; i < args_.sequences.size(); ++i) add_sequence(i);
    return std::move(waves_);
  }

 private:
  /// Pages of a split that are of a kind, or all of them where they are to come.
  struct Part {
    std::uint32_t page_begin;
    std::uint32_t page_end;
    ItemKind kind;
  };
  /// Rows [first_row, end_row) of a kv head.
  struct Rows {
    std::uint32_t sequence;
    std::uint32_t kv_head;
    std::uint32_t first_row;
    std::uint32_t end_row;
    bool is_prefill;  ///< taken all at once
  };

  void add_sequence(std::uint32_t index) {
    const AttendSequence& sequence = args_.sequences[index];
    const std::uint32_t n_row = sequence.n_q * (args_.n_head / args_.n_kv_head);
    if (n_row == 0) return;
    // A single query has the same bits where pages are to come, whatever the size of its group.
    const bool is_prefill =
        policy_.n_prefill_tile > 0 && sequence.n_q > 1 && n_row >= kPrefillRowsMin;
    const std::uint32_t n_at_once = policy_.n_column * (is_prefill ? policy_.n_prefill_tile : 1);
    const std::uint64_t n_block = std::uint64_t{args_.n_kv_head} * ((n_row - 1) / n_at_once + 1);
    const std::uint64_t n_page = n_page_of(sequence);
    const std::uint64_t split_pages =
        is_prefill ? prefill_split_pages_of(n_page, n_block, n_row) : split_pages_of(n_page);
    for (std::uint32_t head = 0; head < args_.n_kv_head; ++head) {
      const std::vector<Part> parts = parts_of(sequence, head, split_pages);
      for (std::uint32_t row = 0; row < n_row; row += n_at_once) {
        add_rows({index, head, row, std::min(row + n_at_once, n_row), is_prefill}, parts);
      }
    }
  }

  std::uint64_t n_page_of(const AttendSequence& sequence) const {
    return policy_.n_page_max > 0 ? policy_.n_page_max : sequence.pages.size() / args_.n_kv_head;
  }

  /// What a tile attends, split by split, a part for every kind of pages that a split has.
  std::vector<Part> parts_of(const AttendSequence& sequence, std::uint32_t head,
                             std::uint64_t split_pages) const {
    std::vector<Part> parts;
    const std::uint64_t n_page = n_page_of(sequence);
    for (std::uint64_t begin = 0; begin < n_page;) {
      // The next boundary stands at a multiple of the split, counted from position 0.
      const std::uint64_t past = (sequence.first_page + begin) % split_pages;
      const std::uint64_t end = std::min(n_page, begin + split_pages - past);
      const std::uint32_t kinds =
          policy_.n_page_max > 0 ? all_kinds() : kinds_of(sequence, head, begin, end);
      for (const ItemKind kind : {kRawValues, kCodedValues, kTensorValues}) {
        if ((kinds >> kind & 1U) == 0) continue;
        parts.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), kind});
      }
      begin = end;
    }
    return parts;
  }

  /// Tiles behind one another, all in one wave, each with a slot for every part.
  void add_rows(const Rows& rows, std::span<const Part> parts) {
    const std::uint32_t n_tile = (rows.end_row - rows.first_row - 1) / policy_.n_column + 1;
    if (waves_.empty() || !has_room(n_tile, n_tile * parts.size())) waves_.emplace_back();
    AttendWave& wave = waves_.back();
    const AttendSequence& sequence = args_.sequences[rows.sequence];
    const bool has_floors = is_sparse(args_.sparse_values, sequence);
    for (std::uint32_t i = 0; i < n_tile; ++i) {
      const std::uint32_t row = rows.first_row + i * policy_.n_column;
      const auto index = static_cast<std::uint32_t>(wave.tiles.size());
      wave.tiles.push_back({rows.sequence, rows.kv_head, row,
                            std::min(policy_.n_column, rows.end_row - row),
                            static_cast<std::uint32_t>(wave.slot_kinds.size()),
                            static_cast<std::uint32_t>(parts.size())});
      // Where many are taken at once, the items of the first one stand for those of all.
      add_items(wave, index, parts, !rows.is_prefill ? 1 : i == 0 ? n_tile : 0, rows.is_prefill);
      if (has_floors) {
        const auto n_page = static_cast<std::uint32_t>(n_page_of(sequence));
        wave.floors.push_back({index, 1, 0, n_page, 0, kFloors});
      }
    }
  }

  /// A tile's slots and items; those of kTensorValues are of n_tensor_tile tiles.
  static void add_items(AttendWave& wave, std::uint32_t tile, std::span<const Part> parts,
                        std::uint32_t n_tensor_tile, bool is_prefill) {
    const bool is_wide = wave.tiles[tile].n_row > kNarrowColumns;
    std::vector<ItemEntry>& tensor = is_prefill ? wave.prefill : is_wide ? wave.wide : wave.narrow;
    for (const Part& part : parts) {
      const bool is_tensor = part.kind == kTensorValues;
      const std::uint32_t n_tile = is_tensor ? n_tensor_tile : 1;
      const auto slot = static_cast<std::uint32_t>(wave.slot_kinds.size());
      wave.slot_kinds.push_back(part.kind);
      if (n_tile == 0) continue;
      (is_tensor ? tensor : wave.portable)
          .push_back({tile, n_tile, part.page_begin, part.page_end, slot, part.kind});
    }
  }

  std::uint32_t all_kinds() const {
    const std::uint32_t portable = 1U << kRawValues | 1U << kCodedValues;
    return policy_.uses_tensor_cores ? portable | 1U << kTensorValues : portable;
  }
  std::uint32_t kinds_of(const AttendSequence& sequence, std::uint32_t head, std::uint64_t begin,
                         std::uint64_t end) const {
    std::uint32_t kinds = 0;
    for (std::uint64_t page = begin; page < end; ++page) {
      kinds |= 1U << kind_of(sequence.pages[page * args_.n_kv_head + head]);
    }
    return kinds;
  }

  ItemKind kind_of(const PageRef& page) const {
    if (page.value.format.is_raw()) return kRawValues;
    return policy_.uses_tensor_cores && !page.key.format.is_raw() ? kTensorValues : kCodedValues;
  }

  bool has_room(std::uint64_t n_tile, std::uint64_t n_slot) const {
    const AttendWave& wave = waves_.back();
    return wave.tiles.empty() ||
           AttendScratch::of(args_.key_head_dim, args_.value_head_dim, wave.tiles.size() + n_tile,
                             wave.slot_kinds.size() + n_slot)
                   .size_bytes <= kWaveBytes;
  }

  const AttendArgs& args_;
  const AttendPolicy& policy_;
  std::vector<AttendWave> waves_;
};

}  // namespace

AttendScratch AttendScratch::of(std::uint32_t key_head_dim, std::uint32_t value_head_dim,
                                std::uint64_t n_tile, std::uint64_t n_slot) {
  const std::uint64_t n_row = n_tile * kColumns;
  const std::uint64_t n_key = n_row * padded_head_dim(key_head_dim);
  AttendScratch scratch;
  const auto take = [&scratch](std::uint64_t size_bytes) {
    const std::uint64_t at = scratch.size_bytes;
    scratch.size_bytes += align_up(size_bytes, kAlignmentBytes);
    return at;
  };
  scratch.q_raw_bytes = take(n_key * sizeof(float));
  scratch.q_rotated_bytes = take(n_key * sizeof(float));
  scratch.q_digits_bytes = take(2 * n_key);
  scratch.q_steps_bytes = take(n_row * sizeof(float));
  scratch.q_sums_bytes = take(n_row * sizeof(std::int32_t));
  scratch.floors_bytes = take(2 * n_row * sizeof(float));
  const std::uint64_t slot = slot_floats(padded_head_dim(value_head_dim)) * sizeof(float);
  scratch.partials_bytes = take(n_slot * slot);
  return scratch;
}

std::uint64_t attend_scratch_size_bytes() {
  return kWaveBytes +
         AttendScratch::of(KVAULT_HEAD_DIM_MAX, KVAULT_HEAD_DIM_MAX, 1, (kSplitsMax + 2) * kFloors)
             .size_bytes;
}

std::uint32_t prefill_tiles_of(std::uint32_t key_head_dim, std::uint32_t value_head_dim) {
  const std::uint32_t key_dim = padded_head_dim(key_head_dim);
  const std::uint32_t value_dim = padded_head_dim(value_head_dim);
#define KVAULT_PREFILL_KERNEL(of_key_dim, of_value_dim)         \
  if (key_dim == (of_key_dim) && value_dim == (of_value_dim)) { \
    return prefill_tiles(of_key_dim, of_value_dim);             \
  }
#include "gpu_cuda/prefill_kernels.inc"
#undef KVAULT_PREFILL_KERNEL
  return 0;
}

bool is_sparse(const SparseValues& sparse, const AttendSequence& sequence) {
  return sparse.threshold > 0 && sequence.n_token > 0 && sequence.n_token >= sparse.n_token_min;
}

std::vector<AttendWave> plan_attend(const AttendArgs& args, const AttendPolicy& policy) {
  return Planner(args, policy).plan();
}

}  // namespace kvault::cuda
