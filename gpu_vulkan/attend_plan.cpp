#include "gpu_vulkan/attend_plan.hpp"

#include <algorithm>

#include "core/layout/block_layout.hpp"

namespace kvault::vulkan {
namespace {

constexpr std::uint32_t kColumnsMax = 16;
/// Splits of a tile: many, so that one long sequence fills a device, but no more than are merged
/// fast.
constexpr std::uint64_t kSplitsMax = 128;
constexpr std::uint64_t kSplitPagesMin = 4;
constexpr std::uint64_t kWaveBytes = std::uint64_t{32} << 20U;
/// A dispatch is one-dimensional.
constexpr std::uint64_t kGroupsMax = 65535;
/// Room for the head_dims of most models, in pipelines for any head_dim.
constexpr std::uint32_t kCommonRoom = 256;
/// Shared memory beside queries and weights; attend.glsl.
constexpr std::uint64_t kSharedRestBytes = 2048;

std::uint64_t n_page_of(const AttendSequence& sequence, std::uint32_t n_kv_head) {
  return sequence.pages.size() / n_kv_head;
}

std::uint64_t split_pages_of(std::uint64_t n_page) {
  return std::max(kSplitPagesMin, (n_page + kSplitsMax - 2) / (kSplitsMax - 1));
}

/// As many columns as there are rows, up to what the shared memory holds.
std::uint32_t choose_n_column(std::uint64_t n_row, std::uint32_t key_room,
                              std::uint32_t shared_size_bytes) {
  std::uint32_t n_column = 1;
  while (n_column < n_row && n_column < kColumnsMax) {
    const std::uint64_t next = 2 * std::uint64_t{n_column};
    const std::uint64_t size_bytes =
        next * (key_room + kPageTokens) * sizeof(float) + kSharedRestBytes;
    if (size_bytes > shared_size_bytes) break;
    n_column *= 2;
  }
  return n_column;
}

/// The one scheme of all coded blocks of a side, or raw.
Scheme only_scheme(std::span<const PageRef> pages, BlockRef PageRef::*side) {
  Scheme only = Scheme::raw;
  for (const PageRef& page : pages) {
    const BlockFormat format = (page.*side).format;
    if (format.is_raw()) continue;
    if (only != Scheme::raw && only != format.scheme()) return Scheme::raw;
    only = format.scheme();
  }
  return only;
}

class Planner {
 public:
  Planner(const AttendArgs& args, std::uint32_t shared_size_bytes, bool specialises)
      : args_(args), shared_size_bytes_(shared_size_bytes), specialises_(specialises) {}

  std::vector<AttendWave> plan() {
    std::map<AttendShape, std::vector<std::uint32_t>> by_shape;
    const std::uint32_t group = args_.n_head / args_.n_kv_head;
    for (std::uint32_t i = 0; i < args_.sequences.size(); ++i) {
      const AttendSequence& sequence = args_.sequences[i];
      if (sequence.n_q == 0) continue;
      const std::uint32_t key_room = room_of(args_.key_head_dim);
      const AttendShape shape = {
          key_room, room_of(args_.value_head_dim),
          choose_n_column(std::uint64_t{sequence.n_q} * group, key_room, shared_size_bytes_),
          scheme_of(sequence.pages, &PageRef::key), scheme_of(sequence.pages, &PageRef::value)};
      by_shape[shape].push_back(i);
    }
    for (const auto& [shape, sequences] : by_shape) {
      waves_.push_back({.shape = shape, .tiles = {}, .items = {}});
      for (const std::uint32_t index : sequences) add_sequence(index);
    }
    return std::move(waves_);
  }

 private:
  std::uint32_t room_of(std::uint32_t head_dim) const {
    if (specialises_) return padded_head_dim(head_dim);
    return head_dim <= kCommonRoom ? kCommonRoom : KVAULT_HEAD_DIM_MAX;
  }

  Scheme scheme_of(std::span<const PageRef> pages, BlockRef PageRef::*side) const {
    return specialises_ ? only_scheme(pages, side) : Scheme::raw;
  }

  void add_sequence(std::uint32_t index) {
    const std::uint32_t n_row = args_.sequences[index].n_q * (args_.n_head / args_.n_kv_head);
    for (std::uint32_t head = 0; head < args_.n_kv_head; ++head) {
      const std::uint32_t step = waves_.back().shape.n_column;
      for (std::uint32_t row = 0; row < n_row; row += step) {
        add_tile({index, head, row, std::min(step, n_row - row), 0, 0});
      }
    }
  }

  void add_tile(TileEntry tile) {
    const AttendSequence& sequence = args_.sequences[tile.sequence];
    const std::uint64_t n_page = n_page_of(sequence, args_.n_kv_head);
    const std::uint64_t split = split_pages_of(n_page);
    const std::uint64_t n_split_most = n_page / split + 2;
    if (!has_room(n_split_most)) {
      waves_.push_back({.shape = waves_.back().shape, .tiles = {}, .items = {}});
    }
    AttendWave& wave = waves_.back();
    tile.first_slot = wave.n_slot;
    for (std::uint64_t begin = 0; begin < n_page;) {
      // The next boundary stands at a multiple of the split, counted from position 0.
      const std::uint64_t past = (sequence.first_page + begin) % split;
      const std::uint64_t end = std::min(n_page, begin + split - past);
      wave.items.push_back({static_cast<std::uint32_t>(wave.tiles.size()),
                            static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end),
                            wave.n_slot++, 0});
      begin = end;
    }
    tile.n_slot = wave.n_slot - tile.first_slot;
    wave.tiles.push_back(tile);
  }

  bool has_room(std::uint64_t n_split) const {
    const AttendWave& wave = waves_.back();
    if (wave.tiles.empty()) return true;
    const std::uint64_t n_tile = wave.tiles.size() + 1;
    return n_tile * wave.shape.n_column <= kGroupsMax &&
           wave.items.size() + n_split <= kGroupsMax &&
           AttendScratch::of(args_, wave.shape, n_tile, wave.n_slot + n_split).size_bytes <=
               kWaveBytes;
  }

  const AttendArgs& args_;
  const std::uint32_t shared_size_bytes_;
  const bool specialises_;
  std::vector<AttendWave> waves_;
};

}  // namespace

AttendScratch AttendScratch::of(const AttendArgs& args, const AttendShape& shape,
                                std::uint64_t n_tile, std::uint64_t n_slot) {
  const std::uint64_t n_column = shape.n_column;
  const std::uint64_t q_bytes =
      n_tile * padded_head_dim(args.key_head_dim) * n_column * sizeof(float);
  const std::uint64_t slot_bytes =
      2 * n_column * (2 + padded_head_dim(args.value_head_dim)) * sizeof(float);
  AttendScratch scratch;
  scratch.q_rotated_bytes = q_bytes;
  scratch.q_digits_bytes = 2 * q_bytes;
  // Of every column its digits in two bytes a dim, then their step and sum; attend_dot.glsl.
  scratch.floors_bytes =
      scratch.q_digits_bytes + q_bytes / 2 + n_tile * n_column * 2 * sizeof(float);
  scratch.partials_bytes = scratch.floors_bytes + n_tile * n_column * 2 * sizeof(float);
  scratch.size_bytes = scratch.partials_bytes + n_slot * slot_bytes;
  return scratch;
}

std::uint64_t attend_scratch_size_bytes() {
  AttendArgs widest;
  widest.key_head_dim = widest.value_head_dim = KVAULT_HEAD_DIM_MAX;
  const AttendShape shape = {KVAULT_HEAD_DIM_MAX, KVAULT_HEAD_DIM_MAX, kColumnsMax, Scheme::raw,
                             Scheme::raw};
  return kWaveBytes + AttendScratch::of(widest, shape, 1, kSplitsMax + 2).size_bytes;
}

std::vector<AttendWave> plan_attend(const AttendArgs& args, std::uint32_t shared_size_bytes,
                                    bool specialises) {
  return Planner(args, shared_size_bytes, specialises).plan();
}

}  // namespace kvault::vulkan
