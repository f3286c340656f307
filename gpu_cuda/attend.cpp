#include "gpu_cuda/attend.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "gpu_cuda/call_tables.hpp"
#include "gpu_cuda/cuda_buffer.hpp"

namespace kvault::cuda {
namespace {

constexpr std::int64_t kPositionMax = std::int64_t{1} << 30U;
/// Integer tensor cores of the shape that kernels use.
constexpr int kTensorArchitecture = 80;

/// The kernels of attend_tensor.cu and attend_prefill.cu for a pair of head_dims.
struct TensorKernels {
  Kernel narrow;
  Kernel wide;
  Kernel prefill;
  std::uint32_t n_column;        ///< rows of a tile
  std::uint32_t n_prefill_tile;  ///< 0: there is no such kernel
};

/// None on GPUs without integer tensor cores, and for pairs that no model is known to have.
std::optional<TensorKernels> find_tensor_kernels(const Context& context, const AttendArgs& args) {
  struct Entry {
    std::uint32_t key_dim;
    std::uint32_t value_dim;
    bool is_wide;
    Kernel kernel;
  };
  constexpr bool k_narrow = false;
  constexpr bool k_wide = true;
  constexpr Entry kEntries[] = {
#define KVAULT_TENSOR_KERNEL(key_dim, value_dim, width) \
  {key_dim, value_dim, k_##width, Kernel::tensor_##key_dim##_##value_dim##_##width},
#include "gpu_cuda/tensor_kernels.inc"
#undef KVAULT_TENSOR_KERNEL
  };
  if (context.architecture() < kTensorArchitecture) return {};
  std::optional<TensorKernels> found;
  for (const Entry& entry : kEntries) {
    if (entry.key_dim != padded_head_dim(args.key_head_dim)) continue;
    if (entry.value_dim != padded_head_dim(args.value_head_dim)) continue;
    if (entry.is_wide) {
      found->wide = entry.kernel;
      found->n_column = kColumns;
    } else {
      found = TensorKernels{entry.kernel, entry.kernel, entry.kernel, kNarrowColumns, 0};
    }
  }
  if (!found) return found;
  found->n_prefill_tile = prefill_tiles_of(args.key_head_dim, args.value_head_dim);
#define KVAULT_PREFILL_KERNEL(key_dim, value_dim)             \
  if (padded_head_dim(args.key_head_dim) == (key_dim) &&      \
      padded_head_dim(args.value_head_dim) == (value_dim)) {  \
    found->prefill = Kernel::prefill_##key_dim##_##value_dim; \
  }
#include "gpu_cuda/prefill_kernels.inc"
#undef KVAULT_PREFILL_KERNEL
  return found;
}

class AttendCall {
 public:
  /// `places` is null for a call that comes once.
  AttendCall(Runtime& runtime, const AttendArgs& args, const StandingPlaces* places)
      : runtime_(runtime),
        args_(args),
        places_(places),
        tables_(runtime, kept_tables(), key_of(0)),
        results_(runtime),
        own_scratch_(runtime) {}

  Result<> hand_in();
  /// Has all tables on their way, and the launches ready.
  Result<> lay();
  std::vector<AttendLaunch>& launches() { return launches_; }

 private:
  struct Rows {
    std::uint64_t out_bytes;  ///< offsets into the results
    std::uint64_t lse_bytes;
  };

  KeptTables& kept_tables() const {
    return places_ == nullptr ? runtime_.kept_tables() : places_->tables;
  }
  CallMemory& scratch() { return places_ == nullptr ? own_scratch_ : places_->scratch; }
  std::size_t n_page_entry(const AttendSequence& sequence) const {
    return places_ == nullptr ? sequence.pages.size() : places_->n_page_max * args_.n_kv_head;
  }
  /// Calls for the same sequence have the same first buffer: its raw pages.
  KeptTables::Key key_of(std::uint32_t part) const {
    if (places_ != nullptr) return {0, part};
    return {args_.buffers.empty() ? 0 : memory_of(*args_.buffers[0]), part};
  }
  Result<> check_positions() const;
  void reserve_tables();
  Result<> allocate_results();
  SequenceEntry enter(const AttendSequence& sequence, const Rows& rows);
  const PageEntry* add_pages(const AttendSequence& sequence);
  Result<> allocate_scratch();
  Result<> lay_wave(std::uint32_t index);
  void lay_items(Kernel kernel, const ItemEntry* items, std::size_t n_item);
  Result<> fetch_results();

  Runtime& runtime_;
  const AttendArgs& args_;
  const StandingPlaces* places_;
  CallTables tables_;
  CallMemory results_;
  CallMemory own_scratch_;
  std::optional<TensorKernels> kernels_;
  std::vector<AttendWave> waves_;
  std::vector<Rows> rows_;  ///< of every sequence
  std::vector<AttendLaunch> launches_;
  AttendParams params_ = {};
};

Result<> AttendCall::hand_in() {
  KVAULT_CHECK(lay());
  for (const AttendLaunch& launch : launches_) {
    KVAULT_CHECK(runtime_.launch(launch.kernel, launch.params, launch.n_block));
  }
  return fetch_results();
}

Result<> AttendCall::lay() {
  KVAULT_CHECK(check_positions());
  kept_tables().begin_call();
  kernels_ = find_tensor_kernels(runtime_.context(), args_);
  waves_ = plan_attend(args_, {.uses_tensor_cores = kernels_.has_value(),
                               .n_column = kernels_ ? kernels_->n_column : kColumns,
                               .n_prefill_tile = kernels_ ? kernels_->n_prefill_tile : 0,
                               .n_page_max = places_ == nullptr ? 0 : places_->n_page_max});
  if (waves_.empty()) return {};
  KVAULT_TRY(params_.key_rotation, runtime_.rotation(args_.key_head_dim));
  KVAULT_TRY(params_.value_rotation, runtime_.rotation(args_.value_head_dim));
  params_.n_head = args_.n_head;
  params_.n_kv_head = args_.n_kv_head;
  params_.key_dim = args_.key_head_dim;
  params_.value_dim = args_.value_head_dim;
  params_.uses_tensor_cores = kernels_ ? 1 : 0;
  params_.softmax_scale = args_.softmax_scale;
  params_.softcap = args_.logit_softcap;
  params_.key_unit = 1 / std::sqrt(static_cast<float>(args_.key_head_dim));
  params_.value_unit = 1 / std::sqrt(static_cast<float>(args_.value_head_dim));
  KVAULT_CHECK(allocate_results());
  reserve_tables();
  KVAULT_CHECK(tables_.begin());
  std::vector<SequenceEntry> sequences;
  for (std::size_t i = 0; i < args_.sequences.size(); ++i) {
    sequences.push_back(enter(args_.sequences[i], rows_[i]));
  }
  params_.sequences = tables_.add(std::span<const SequenceEntry>(sequences));
  KVAULT_CHECK(allocate_scratch());
  KVAULT_CHECK(tables_.send());
  for (std::uint32_t i = 0; i < waves_.size(); ++i) KVAULT_CHECK(lay_wave(i));
  return {};
}

/// For the largest wave; a standing call has it already, after the first time.
Result<> AttendCall::allocate_scratch() {
  if (scratch().address() != 0) return {};
  std::uint64_t scratch_bytes = 0;
  for (const AttendWave& wave : waves_) {
    const AttendScratch places = AttendScratch::of(args_.key_head_dim, args_.value_head_dim,
                                                   wave.tiles.size(), wave.slot_kinds.size());
    scratch_bytes = std::max(scratch_bytes, places.size_bytes);
  }
  return scratch().allocate(scratch_bytes);
}

Result<> AttendCall::check_positions() const {
  for (const AttendSequence& sequence : args_.sequences) {
    if (sequence.n_token >= static_cast<std::uint64_t>(kPositionMax) ||
        sequence.first_q_position >= kPositionMax || sequence.first_q_position <= -kPositionMax ||
        sequence.n_q >= kPositionMax) {
      return fail(Errc::unsupported,
                  message("cuda: ", sequence.n_token, " tokens with queries from ",
                          sequence.first_q_position, " on, but positions end at ", kPositionMax));
    }
  }
  return {};
}

void AttendCall::reserve_tables() {
  tables_.reserve(args_.sequences.size() * sizeof(SequenceEntry));
  for (const AttendSequence& sequence : args_.sequences) {
    tables_.reserve(n_page_entry(sequence) * sizeof(PageEntry));
    tables_.reserve(sequence.mask.bits.size());
    tables_.reserve(sequence.equaliser.size_bytes());
    if (!sequence.on_device) tables_.reserve(sequence.q.size_bytes());
  }
}

Result<> AttendCall::allocate_results() {
  std::uint64_t size_bytes = 0;
  for (const AttendSequence& sequence : args_.sequences) {
    const std::uint64_t n_row = sequence.on_device ? 0 : std::uint64_t{sequence.n_q} * args_.n_head;
    rows_.push_back({size_bytes, size_bytes + n_row * args_.value_head_dim * sizeof(float)});
    size_bytes += n_row * (args_.value_head_dim + 1) * sizeof(float);
  }
  return size_bytes == 0 ? Result<>{} : results_.allocate(size_bytes);
}

const PageEntry* AttendCall::add_pages(const AttendSequence& sequence) {
  std::vector<PageEntry> entries;
  entries.reserve(n_page_entry(sequence));
  for (const PageRef& page : sequence.pages) {
    entries.push_back({address_of(args_.buffers, page.key), address_of(args_.buffers, page.value),
                       page.key.format.byte(), page.value.format.byte()});
  }
  // Pages to come: nobody looks at them while the sequence is no longer.
  KVAULT_ASSERT(entries.size() <= n_page_entry(sequence));
  entries.resize(n_page_entry(sequence));
  return tables_.add(std::span<const PageEntry>(entries));
}

SequenceEntry AttendCall::enter(const AttendSequence& sequence, const Rows& rows) {
  const AttendMask& mask = sequence.mask;
  SequenceEntry entry = {};
  entry.pages = add_pages(sequence);
  if (!mask.bits.empty()) entry.mask = tables_.add(mask.bits);
  if (!sequence.equaliser.empty()) {
    entry.equaliser = reinterpret_cast<const std::uint16_t*>(tables_.add(sequence.equaliser));
  }
  if (sequence.on_device) {
    entry.q = sequence.q.data();
    entry.out = sequence.out.data();
    entry.lse = sequence.lse.empty() ? nullptr : sequence.lse.data();
  } else {
    entry.q = tables_.add(sequence.q);
    entry.out = reinterpret_cast<float*>(results_.address() + rows.out_bytes);
    entry.lse = reinterpret_cast<float*>(results_.address() + rows.lse_bytes);
  }
  entry.mask_stride = mask.bits_stride;
  entry.n_token = static_cast<std::uint32_t>(sequence.n_token);
  entry.first_page = static_cast<std::uint32_t>(sequence.first_page);
  entry.first_q_position = static_cast<std::int32_t>(sequence.first_q_position);
  entry.is_causal = mask.causal ? 1 : 0;
  entry.window = std::min<std::uint32_t>(mask.window, static_cast<std::uint32_t>(kPositionMax));
  if (is_sparse(args_.sparse_values, sequence)) {
    entry.sparse_share = args_.sparse_values.threshold / static_cast<float>(sequence.n_token);
  }
  return entry;
}

Result<> AttendCall::lay_wave(std::uint32_t index) {
  const AttendWave& wave = waves_[index];
  const AttendScratch places = AttendScratch::of(args_.key_head_dim, args_.value_head_dim,
                                                 wave.tiles.size(), wave.slot_kinds.size());
  const CUdeviceptr memory = scratch().address();
  params_.q_raw = reinterpret_cast<float*>(memory + places.q_raw_bytes);
  params_.q_rotated = reinterpret_cast<float*>(memory + places.q_rotated_bytes);
  params_.q_digits = reinterpret_cast<std::int8_t*>(memory + places.q_digits_bytes);
  params_.q_steps = reinterpret_cast<float*>(memory + places.q_steps_bytes);
  params_.q_sums = reinterpret_cast<std::int32_t*>(memory + places.q_sums_bytes);
  params_.floors = reinterpret_cast<float*>(memory + places.floors_bytes);
  params_.partials = reinterpret_cast<float*>(memory + places.partials_bytes);
  CallTables tables(runtime_, kept_tables(), key_of(index + 1));
  tables.reserve(wave.tiles.size() * sizeof(TileEntry));
  tables.reserve(wave.slot_kinds.size() * sizeof(std::uint32_t));
  for (const auto* const items :
       {&wave.floors, &wave.portable, &wave.narrow, &wave.wide, &wave.prefill}) {
    tables.reserve(items->size() * sizeof(ItemEntry));
  }
  KVAULT_CHECK(tables.begin());
  params_.tiles = tables.add(std::span<const TileEntry>(wave.tiles));
  params_.slot_kinds = tables.add(std::span<const std::uint32_t>(wave.slot_kinds));
  const ItemEntry* const floors = tables.add(std::span<const ItemEntry>(wave.floors));
  const ItemEntry* const portable = tables.add(std::span<const ItemEntry>(wave.portable));
  const ItemEntry* const narrow = tables.add(std::span<const ItemEntry>(wave.narrow));
  const ItemEntry* const wide = tables.add(std::span<const ItemEntry>(wave.wide));
  const ItemEntry* const prefill = tables.add(std::span<const ItemEntry>(wave.prefill));
  KVAULT_CHECK(tables.send());
  const std::uint64_t n_row = wave.tiles.size() * kColumns;
  launches_.push_back({Kernel::prepare, params_, n_row});
  lay_items(Kernel::attend_portable, floors, wave.floors.size());
  lay_items(Kernel::attend_portable, portable, wave.portable.size());
  if (kernels_) {
    lay_items(kernels_->narrow, narrow, wave.narrow.size());
    lay_items(kernels_->wide, wide, wave.wide.size());
    lay_items(kernels_->prefill, prefill, wave.prefill.size());
  }
  launches_.push_back({Kernel::combine, params_, n_row});
  return {};
}

void AttendCall::lay_items(Kernel kernel, const ItemEntry* items, std::size_t n_item) {
  params_.items = items;
  if (n_item > 0) launches_.push_back({kernel, params_, n_item});
}

Result<> AttendCall::fetch_results() {
  for (std::size_t i = 0; i < args_.sequences.size(); ++i) {
    const AttendSequence& sequence = args_.sequences[i];
    if (sequence.on_device) continue;
    KVAULT_CHECK(runtime_.download(std::as_writable_bytes(sequence.out),
                                   results_.address() + rows_[i].out_bytes));
    KVAULT_CHECK(runtime_.download(std::as_writable_bytes(sequence.lse),
                                   results_.address() + rows_[i].lse_bytes));
  }
  return {};
}

}  // namespace

Result<> hand_in_attend(Runtime& runtime, const AttendArgs& args) {
  return AttendCall(runtime, args, nullptr).hand_in();
}

Result<std::vector<AttendLaunch>> lay_attend(Runtime& runtime, const AttendArgs& args,
                                             const StandingPlaces& places) {
  AttendCall call(runtime, args, &places);
  KVAULT_CHECK(call.lay());
  return std::move(call.launches());
}

}  // namespace kvault::cuda
