#include "gpu_cuda/attend_plan.hpp"

#include <algorithm>

#include "core/layout/block_layout.hpp"

namespace kvault::cuda {
namespace {

/// Splits of a tile: many, so that one long sequence fills a device, but no more than are merged
/// fast.
constexpr std::uint64_t kSplitsMax = 128;
/// A warp of a block takes every fourth page.
constexpr std::uint64_t kSplitPagesMin = 4;
constexpr std::uint64_t kWaveBytes = std::uint64_t{64} << 20U;
constexpr std::uint64_t kAlignmentBytes = 256;

std::uint64_t split_pages_of(std::uint64_t n_page) {
  const std::uint64_t least = (n_page + kSplitsMax - 2) / (kSplitsMax - 1);
  return std::max(kSplitPagesMin, align_up(least, kSplitPagesMin));
}

class Planner {
 public:
  Planner(const AttendArgs& args, const AttendPolicy& policy) : args_(args), policy_(policy) {}

  std::vector<AttendWave> plan() {
    for (std::uint32_t i = 0; i < args_.sequences.size(); ++i) {
      const std::uint32_t n_row = args_.sequences[i].n_q * (args_.n_head / args_.n_kv_head);
      for (std::uint32_t head = 0; head < args_.n_kv_head; ++head) {
        for (std::uint32_t row = 0; row < n_row; row += policy_.n_column) {
          add_tile({i, head, row, std::min(policy_.n_column, n_row - row), 0, 0});
        }
      }
    }
    return std::move(waves_);
  }

 private:
  void add_tile(TileEntry tile) {
    const AttendSequence& sequence = args_.sequences[tile.sequence];
    const std::uint64_t n_page =
        policy_.n_page_max > 0 ? policy_.n_page_max : sequence.pages.size() / args_.n_kv_head;
    const std::uint64_t split = split_pages_of(n_page);
    if (waves_.empty() || !has_room(n_page / split + 2)) waves_.emplace_back();
    AttendWave& wave = waves_.back();
    const auto tile_index = static_cast<std::uint32_t>(wave.tiles.size());
    tile.first_slot = static_cast<std::uint32_t>(wave.slot_kinds.size());
    for (std::uint64_t begin = 0; begin < n_page;) {
      // The next boundary stands at a multiple of the split, counted from position 0.
      const std::uint64_t past = (sequence.first_page + begin) % split;
      const std::uint64_t end = std::min(n_page, begin + split - past);
      add_items(wave, tile,
                {tile_index, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), 0,
                 kRawValues});
      begin = end;
    }
    tile.n_slot = static_cast<std::uint32_t>(wave.slot_kinds.size()) - tile.first_slot;
    wave.tiles.push_back(tile);
    if (is_sparse(args_.sparse_values, sequence)) {
      wave.floors.push_back({tile_index, 0, static_cast<std::uint32_t>(n_page), 0, kFloors});
    }
  }

  /// A split's items, one for every kind of pages that it has.
  void add_items(AttendWave& wave, const TileEntry& tile, ItemEntry item) const {
    const std::uint32_t kinds = policy_.n_page_max > 0 ? all_kinds() : kinds_of(tile, item);
    item.slot = static_cast<std::uint32_t>(wave.slot_kinds.size());
    wave.slot_kinds.push_back(kinds);
    for (const ItemKind kind : {kRawValues, kCodedValues, kTensorValues}) {
      if ((kinds >> kind & 1U) == 0) continue;
      item.kind = kind;
      const bool is_wide = tile.n_row > kNarrowColumns;
      (kind != kTensorValues ? wave.portable : is_wide ? wave.wide : wave.narrow).push_back(item);
    }
  }

  std::uint32_t all_kinds() const {
    const std::uint32_t portable = 1U << kRawValues | 1U << kCodedValues;
    return policy_.uses_tensor_cores ? portable | 1U << kTensorValues : portable;
  }
  std::uint32_t kinds_of(const TileEntry& tile, const ItemEntry& item) const {
    std::uint32_t kinds = 0;
    for (std::uint32_t page = item.page_begin; page < item.page_end; ++page) {
      kinds |= 1U << kind_of(args_.sequences[tile.sequence]
                                 .pages[std::size_t{page} * args_.n_kv_head + tile.kv_head]);
    }
    return kinds;
  }

  ItemKind kind_of(const PageRef& page) const {
    if (page.value.format.is_raw()) return kRawValues;
    return policy_.uses_tensor_cores && !page.key.format.is_raw() ? kTensorValues : kCodedValues;
  }

  bool has_room(std::uint64_t n_split) const {
    const AttendWave& wave = waves_.back();
    return wave.tiles.empty() ||
           AttendScratch::of(args_.key_head_dim, args_.value_head_dim, wave.tiles.size() + 1,
                             wave.slot_kinds.size() + n_split)
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
  scratch.partials_bytes = take(n_slot * kPartialKinds * slot);
  return scratch;
}

std::uint64_t attend_scratch_size_bytes() {
  return kWaveBytes +
         AttendScratch::of(KVAULT_HEAD_DIM_MAX, KVAULT_HEAD_DIM_MAX, 1, kSplitsMax + 2).size_bytes;
}

bool is_sparse(const SparseValues& sparse, const AttendSequence& sequence) {
  return sparse.threshold > 0 && sequence.n_token > 0 && sequence.n_token >= sparse.n_token_min;
}

std::vector<AttendWave> plan_attend(const AttendArgs& args, const AttendPolicy& policy) {
  return Planner(args, policy).plan();
}

}  // namespace kvault::cuda
