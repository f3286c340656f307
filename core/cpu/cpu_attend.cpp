#include "core/cpu/cpu_attend.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "core/base/assert.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault::cpu {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

constexpr SlotShape kWidestSlot = {kRowTile, KVAULT_HEAD_DIM_MAX};

/// Of the widest; narrower ones are more.
constexpr std::size_t n_slot_of(std::uint32_t n_thread) { return 2 * std::size_t{n_thread}; }

std::uint64_t n_page_of(const AttendArgs& args, const AttendSequence& sequence) {
  return sequence.pages.size() / args.n_kv_head;
}

bool is_last_of_rows(const AttendItem& item) {
  return item.page_end == n_page_of(item.args, item.sequence);
}

/// One thread's share of a wave: whatever the others have not taken.
class WaveItems final : public ItemSource {
 public:
  WaveItems(std::span<const AttendItem> wave, std::atomic<std::size_t>& n_taken)
      : wave_(wave), n_taken_(n_taken) {}

  const AttendItem* take() override {
    if (n_taken_ >= wave_.size()) return nullptr;
    const std::size_t index = n_taken_++;
    return index < wave_.size() ? &wave_[index] : nullptr;
  }

 private:
  std::span<const AttendItem> wave_;
  std::atomic<std::size_t>& n_taken_;
};

/// `into` and `from`, attended over apart, become one: both to the greater maximum, then added.
void merge(const AttendKernels& kernels, const AttendPartial& into, const AttendPartial& from,
           std::uint32_t n_row, std::size_t stride) {
  for (std::uint32_t row = 0; row < n_row; ++row) {
    SoftmaxState& a = into.states[row];
    const SoftmaxState& b = from.states[row];
    if (b.maximum == kNone) continue;
    const float maximum = std::max(a.maximum, b.maximum);
    const float keep = std::exp(a.maximum - maximum);
    const float add = std::exp(b.maximum - maximum);
    a.sum = a.sum * keep + b.sum * add;
    a.maximum = maximum;
    for (const auto& [target, source] :
         {std::pair{into.raw, from.raw}, std::pair{into.coded, from.coded}}) {
      kernels.scale(target + row * stride, stride, keep);
      kernels.add_scaled(target + row * stride, source + row * stride, stride, add);
    }
  }
}

/// Normalised rows to their places in the sequence's output. Rotates `partial.coded` in place.
void store_rows(const AttendArgs& args, const AttendSequence& sequence, const RowRange& range,
                const RowKernels& kernels, const Rotation& value_rotation,
                const AttendPartial& partial) {
  const std::uint32_t group = args.n_head / args.n_kv_head;
  const std::uint32_t dim = args.value_head_dim;
  const std::size_t stride = padded_head_dim(dim);
  kernels.rotate_inverse(value_rotation, partial.coded, range.n_row_total(), stride);
  for (std::uint32_t row = 0; row < range.n_row_total(); ++row) {
    const RowPlace place = place_of(range, group, row);
    const std::size_t index = std::size_t{place.query} * args.n_head + place.head;
    const SoftmaxState& state = partial.states[row];
    const float* const coded = partial.coded + row * stride;
    const float* const raw = partial.raw + row * stride;
    float* const target = sequence.out.data() + index * dim;
    const bool sees_any = state.sum > 0;
    for (std::uint32_t i = 0; i < dim; ++i) {
      target[i] = sees_any ? (raw[i] + coded[i]) / state.sum : 0.0F;
    }
    if (!sequence.lse.empty()) {
      sequence.lse[index] = sees_any ? state.maximum + std::log(state.sum) : kNone;
    }
  }
}

}  // namespace

CpuAttend::CpuAttend(InstructionSet instructions, std::uint32_t n_thread)
    : kernels_(attend_kernels(instructions)),
      row_kernels_(row_kernels(instructions)),
      slots_(n_slot_of(n_thread) * kWidestSlot.n_float()),
      carry_(kWidestSlot.n_float()) {
  workers_.reserve(n_thread);
  for (std::uint32_t i = 0; i < n_thread; ++i) workers_.emplace_back(kernels_, row_kernels_);
}

std::uint64_t CpuAttend::scratch_size_bytes(InstructionSet instructions, std::uint32_t n_thread) {
  const CellForm form = attend_kernels(instructions).form;
  return AttendSplit::scratch_size_bytes(form) * n_thread +
         (n_slot_of(n_thread) + 1) * kWidestSlot.n_float() * sizeof(float);
}

void CpuAttend::run(const AttendArgs& args, BufferBytes buffers, const RotationSet& rotations,
                    ThreadPool& pool) {
  list_items(args, buffers);
  for (AttendSplit& worker : workers_) worker.forget_queries();
  SlotShape shape = {1, padded_head_dim(args.value_head_dim)};
  for (const AttendItem& item : items_) {
    shape.n_row = std::max(shape.n_row, item.range.n_row_total());
  }
  const std::size_t n_slot = slots_.size() / shape.n_float();
  for (std::size_t first = 0; first < items_.size(); first += n_slot) {
    const std::span<AttendItem> wave =
        std::span(items_).subspan(first, std::min(n_slot, items_.size() - first));
    run_wave(wave, shape, rotations.of(args.key_head_dim), pool);
    merge_wave(args, rotations.of(args.value_head_dim), wave, shape, pool);
  }
  items_.clear();  // they refer to the call's arguments
}

void CpuAttend::run_wave(std::span<AttendItem> wave, const SlotShape& shape,
                         const Rotation& key_rotation, ThreadPool& pool) {
  for (std::size_t slot = 0; slot < wave.size(); ++slot) wave[slot].slot = slot;
  std::atomic<std::size_t> n_taken = 0;
  const auto n_taker = std::min(workers_.size(), wave.size());
  pool.run(static_cast<std::uint32_t>(n_taker), [&](std::uint32_t, std::uint32_t thread) {
    WaveItems items(wave, n_taken);
    ReadAhead read_ahead(items);
    while (const AttendItem* const item = read_ahead.next_item()) {
      workers_[thread].run(*item, read_ahead, key_rotation, shape.at(slots_.data(), item->slot));
    }
  });
}

/// Kv heads that an item takes together: as many as share the row tile, but no more than leave
/// every thread a few items to take. It never changes a bit.
std::uint32_t CpuAttend::choose_n_kv_head(const AttendArgs& args, const AttendSequence& sequence,
                                          std::uint32_t n_row) const {
  const std::uint64_t n_page = n_page_of(args, sequence);
  const std::uint64_t n_split = std::max<std::uint64_t>(1, n_page / kSplitPages);
  const std::uint64_t n_item_wanted = workers_.size() == 1 ? 1 : 4 * workers_.size();
  const std::uint64_t n_group = (n_item_wanted + n_split - 1) / n_split;
  const std::uint64_t by_threads = std::max<std::uint64_t>(1, args.n_kv_head / n_group);
  const std::uint64_t by_rows = std::max<std::uint64_t>(1, kRowTile / n_row);
  return static_cast<std::uint32_t>(std::min({std::uint64_t{args.n_kv_head}, by_threads, by_rows}));
}

/// Rows by rows, and the splits of the same rows in order. Rows that have no page still are an
/// item: their output is zeros.
void CpuAttend::list_items(const AttendArgs& args, BufferBytes buffers) {
  items_.clear();
  for (const AttendSequence& sequence : args.sequences) {
    const std::uint32_t n_row = sequence.n_q * (args.n_head / args.n_kv_head);
    if (n_row == 0) continue;
    const std::uint32_t step = choose_n_kv_head(args, sequence, n_row);
    for (std::uint32_t head = 0; head < args.n_kv_head; head += step) {
      for (std::uint32_t row = 0; row < n_row; row += kRowTile) {
        const RowRange range = {head, std::min(step, args.n_kv_head - head), row,
                                std::min(kRowTile, n_row - row)};
        list_splits({args, sequence, buffers, range, 0, n_page_of(args, sequence)});
      }
    }
  }
}

/// An item over all of a sequence's pages, cut.
void CpuAttend::list_splits(const AttendItem& whole) {
  std::uint64_t begin = 0;
  do {
    // The next boundary stands at a multiple of the split, counted from position 0.
    const std::uint64_t past_boundary = (whole.sequence.first_page + begin) % kSplitPages;
    const std::uint64_t end = std::min(whole.page_end, begin + kSplitPages - past_boundary);
    items_.push_back({whole.args, whole.sequence, whole.buffers, whole.range, begin, end});
    begin = end;
  } while (begin < whole.page_end);
}

/// Every row's splits in order, rows beside rows.
void CpuAttend::merge_wave(const AttendArgs& args, const Rotation& value_rotation,
                           std::span<const AttendItem> wave, const SlotShape& shape,
                           ThreadPool& pool) {
  runs_.clear();
  for (const AttendItem& item : wave) {
    if (runs_.empty() || item.page_begin == 0) runs_.push_back({&item, 0});
    ++runs_.back().n_item;
  }
  const auto n_run = static_cast<std::uint32_t>(runs_.size());
  pool.run(n_run, [&](std::uint32_t index, std::uint32_t) {
    const ItemRun& run = runs_[index];
    merge_run(args, value_rotation, {run.first, run.n_item}, shape);
  });
  const AttendPartial carry = shape.at(carry_.data(), 0);
  const AttendPartial last = merged_of(*runs_.back().first, shape);
  if (!is_last_of_rows(wave.back()) && last.states != carry.states) {
    std::copy_n(reinterpret_cast<const float*>(last.states), shape.n_float(), carry_.data());
  }
}

/// Where the splits of a wave's rows are merged, by the first of them: where the rows go on from
/// the wave before, into what that left.
AttendPartial CpuAttend::merged_of(const AttendItem& first, const SlotShape& shape) {
  return first.page_begin == 0 ? shape.at(slots_.data(), first.slot) : shape.at(carry_.data(), 0);
}

void CpuAttend::merge_run(const AttendArgs& args, const Rotation& value_rotation,
                          std::span<const AttendItem> run, const SlotShape& shape) {
  const AttendPartial merged = merged_of(run.front(), shape);
  for (const AttendItem& item : run) {
    const AttendPartial partial = shape.at(slots_.data(), item.slot);
    if (item.page_begin != 0) {
      merge(kernels_, merged, partial, item.range.n_row_total(), shape.stride);
    }
  }
  const AttendItem& last = run.back();
  if (!is_last_of_rows(last)) return;
  store_rows(args, last.sequence, last.range, row_kernels_, value_rotation, merged);
}

}  // namespace kvault::cpu
