#include "gpu_vulkan/attend.hpp"

#include <algorithm>
#include <array>

#include "gpu_vulkan/vulkan_buffer.hpp"

namespace kvault::vulkan {
namespace {

constexpr std::int64_t kPositionMax = std::int64_t{1} << 30U;
constexpr std::uint64_t kMaskMax = std::uint64_t{1} << 31U;

/// The results of a call, where the device writes them.
struct Results {
  MemoryRange out;
  MemoryRange lse;
};

class AttendRecorder {
 public:
  AttendRecorder(Runtime& runtime, const AttendArgs& args) : runtime_(runtime), args_(args) {}

  Result<> record();

 private:
  Result<SequenceEntry> enter(const AttendSequence& sequence);
  Result<VkDeviceAddress> put_pages(const AttendSequence& sequence);
  Result<> put_queries();
  Result<> record_wave(const AttendWave& wave, const MemoryRange& scratch);
  Result<> find_floors(const AttendWave& wave, std::span<const std::uint32_t> constants);
  Result<> fetch_results();
  std::array<std::uint32_t, 7> constants_of(const AttendShape& shape) const;
  Shader attend_shader() const {
    return runtime_.attend_path().uses_dot_product ? Shader::attend_dot : Shader::attend;
  }
  bool is_sparse(const AttendSequence& sequence) const {
    return args_.sparse_values.threshold > 0 &&
           sequence.n_token >= args_.sparse_values.n_token_min && sequence.n_token > 0;
  }

  Runtime& runtime_;
  const AttendArgs& args_;
  AttendPush push_ = {};
  Results results_;
  VkDeviceAddress key_rotation_ = 0;
  VkDeviceAddress value_rotation_ = 0;
  std::uint32_t n_query_ = 0;
};

Result<> AttendRecorder::record() {
  KVAULT_TRY(key_rotation_, runtime_.rotation(args_.key_head_dim));
  KVAULT_TRY(value_rotation_, runtime_.rotation(args_.value_head_dim));
  std::vector<SequenceEntry> sequences;
  for (const AttendSequence& sequence : args_.sequences) {
    KVAULT_TRY(SequenceEntry entry, enter(sequence));
    sequences.push_back(entry);
    n_query_ += sequence.n_q;
  }
  if (n_query_ == 0) return {};
  push_.n_head = args_.n_head;
  push_.n_kv_head = args_.n_kv_head;
  push_.softmax_scale = args_.softmax_scale;
  KVAULT_TRY(push_.sequences, runtime_.put(std::span<const SequenceEntry>(sequences)));
  KVAULT_CHECK(put_queries());
  const std::uint64_t n_row = std::uint64_t{n_query_} * args_.n_head;
  KVAULT_TRY(results_.out,
             runtime_.stage(MemoryKind::download, n_row * args_.value_head_dim * sizeof(float)));
  KVAULT_TRY(results_.lse, runtime_.stage(MemoryKind::download, n_row * sizeof(float)));
  push_.out_rows = results_.out.address;
  push_.lse = results_.lse.address;

  const std::vector<AttendWave> waves = plan_attend(
      args_, runtime_.context().adapter().shared_size_bytes, runtime_.attend_path().is_specialised);
  std::uint64_t scratch_bytes = 0;
  for (const AttendWave& wave : waves) {
    const AttendScratch scratch =
        AttendScratch::of(args_, wave.shape, wave.tiles.size(), wave.n_slot);
    scratch_bytes = std::max(scratch_bytes, scratch.size_bytes);
  }
  KVAULT_TRY(const MemoryRange scratch, runtime_.scratch(scratch_bytes));
  for (const AttendWave& wave : waves) KVAULT_CHECK(record_wave(wave, scratch));
  return fetch_results();
}

Result<SequenceEntry> AttendRecorder::enter(const AttendSequence& sequence) {
  const AttendMask& mask = sequence.mask;
  if (sequence.n_token >= static_cast<std::uint64_t>(kPositionMax) ||
      sequence.first_q_position >= kPositionMax || sequence.first_q_position <= -kPositionMax ||
      sequence.n_q >= kPositionMax) {
    return fail(Errc::unsupported,
                message("vulkan: ", sequence.n_token, " tokens with queries from ",
                        sequence.first_q_position, " on, but positions end at ", kPositionMax));
  }
  if (!mask.bits.empty() && mask.bits.size() >= kMaskMax) {
    return fail(Errc::unsupported, message("vulkan: a mask of ", mask.bits.size(),
                                           " bytes, but at most ", kMaskMax - 1, " are possible"));
  }
  SequenceEntry entry = {};
  KVAULT_TRY(entry.pages, put_pages(sequence));
  if (!mask.bits.empty()) {
    KVAULT_TRY(entry.mask, runtime_.put(mask.bits));
    entry.mask_stride = static_cast<std::uint32_t>(mask.bits_stride);
  }
  if (!sequence.equaliser.empty()) {
    KVAULT_TRY(entry.equaliser, runtime_.put(sequence.equaliser));
  }
  entry.n_token = static_cast<std::uint32_t>(sequence.n_token);
  entry.first_page = static_cast<std::uint32_t>(sequence.first_page);
  entry.first_q_position = static_cast<std::int32_t>(sequence.first_q_position);
  entry.is_causal = mask.causal ? 1 : 0;
  entry.window = std::min<std::uint32_t>(mask.window, static_cast<std::uint32_t>(kPositionMax));
  entry.first_query = n_query_;
  entry.softcap = args_.logit_softcap;
  entry.key_dim = args_.key_head_dim;
  entry.value_dim = args_.value_head_dim;
  if (is_sparse(sequence)) {
    entry.is_sparse = 1;
    entry.sparse_share = args_.sparse_values.threshold * static_cast<float>(kPageTokens) /
                         static_cast<float>(sequence.n_token);
  }
  return entry;
}

Result<VkDeviceAddress> AttendRecorder::put_pages(const AttendSequence& sequence) {
  std::vector<PageEntry> entries;
  entries.reserve(sequence.pages.size());
  for (const PageRef& page : sequence.pages) {
    entries.push_back({address_of(args_.buffers, page.key), address_of(args_.buffers, page.value),
                       page.key.format.byte(), page.value.format.byte()});
  }
  return runtime_.put(std::span<const PageEntry>(entries));
}

Result<> AttendRecorder::put_queries() {
  std::vector<float> q;
  q.reserve(std::size_t{n_query_} * args_.n_head * args_.key_head_dim);
  for (const AttendSequence& sequence : args_.sequences) {
    q.insert(q.end(), sequence.q.begin(), sequence.q.end());
  }
  KVAULT_TRY(push_.q, runtime_.put(std::span<const float>(q)));
  return {};
}

/// Those of attend.glsl.
std::array<std::uint32_t, 7> AttendRecorder::constants_of(const AttendShape& shape) const {
  const bool specialises = runtime_.attend_path().is_specialised;
  return {shape.key_room,
          shape.value_room,
          shape.n_column,
          static_cast<std::uint32_t>(shape.key),
          static_cast<std::uint32_t>(shape.value),
          specialises ? args_.key_head_dim : 0,
          specialises ? args_.value_head_dim : 0};
}

Result<> AttendRecorder::record_wave(const AttendWave& wave, const MemoryRange& scratch) {
  if (wave.tiles.empty()) return {};
  const AttendScratch places = AttendScratch::of(args_, wave.shape, wave.tiles.size(), wave.n_slot);
  const std::uint32_t n_column = wave.shape.n_column;
  const auto n_tile = static_cast<std::uint32_t>(wave.tiles.size());
  push_.q_raw = scratch.address;
  push_.q_rotated = scratch.address + places.q_rotated_bytes;
  push_.q_digits = scratch.address + places.q_digits_bytes;
  push_.floors = scratch.address + places.floors_bytes;
  push_.partials = scratch.address + places.partials_bytes;
  KVAULT_TRY(push_.tiles, runtime_.put(std::span<const TileEntry>(wave.tiles)));
  KVAULT_TRY(push_.items, runtime_.put(std::span<const ItemEntry>(wave.items)));
  KVAULT_CHECK(runtime_.stream().barrier());
  push_.rotation = key_rotation_;
  const std::uint32_t makes_digits = runtime_.attend_path().uses_dot_product ? 1 : 0;
  KVAULT_CHECK(runtime_.dispatch(Shader::prepare,
                                 std::array{args_.key_head_dim, n_column, makes_digits}, push_,
                                 n_tile * n_column));
  KVAULT_CHECK(runtime_.stream().barrier());
  const std::array constants = constants_of(wave.shape);
  KVAULT_CHECK(find_floors(wave, constants));
  KVAULT_CHECK(runtime_.dispatch(attend_shader(), constants, push_,
                                 static_cast<std::uint32_t>(wave.items.size())));
  KVAULT_CHECK(runtime_.stream().barrier());
  push_.rotation = value_rotation_;
  KVAULT_CHECK(runtime_.dispatch(Shader::combine, std::array{args_.value_head_dim, n_column}, push_,
                                 n_tile * n_column));
  return runtime_.stream().barrier();
}

/// Where values may be left out: a lower bound of every row's sum, the same for all splits.
Result<> AttendRecorder::find_floors(const AttendWave& wave,
                                     std::span<const std::uint32_t> constants) {
  const auto sequence_of = [&](const TileEntry& tile) -> const AttendSequence& {
    return args_.sequences[tile.sequence];
  };
  std::vector<ItemEntry> items;
  for (std::uint32_t i = 0; i < wave.tiles.size(); ++i) {
    const AttendSequence& sequence = sequence_of(wave.tiles[i]);
    if (!is_sparse(sequence)) continue;
    items.push_back(
        {i, 0, static_cast<std::uint32_t>(sequence.pages.size() / args_.n_kv_head), 0, 1});
  }
  if (items.empty()) return {};
  AttendPush push = push_;
  KVAULT_TRY(push.items, runtime_.put(std::span<const ItemEntry>(items)));
  KVAULT_CHECK(runtime_.stream().barrier());
  KVAULT_CHECK(runtime_.dispatch(attend_shader(), constants, push,
                                 static_cast<std::uint32_t>(items.size())));
  return runtime_.stream().barrier();
}

/// Once the batch is done: to the caller's rows.
Result<> AttendRecorder::fetch_results() {
  struct Piece {
    std::span<float> target;
    const std::byte* source;
  };
  std::vector<Piece> pieces;
  std::uint64_t first = 0;
  for (const AttendSequence& sequence : args_.sequences) {
    const std::uint64_t row = first * args_.n_head;
    pieces.push_back(
        {sequence.out, results_.out.host + row * args_.value_head_dim * sizeof(float)});
    if (!sequence.lse.empty()) {
      pieces.push_back({sequence.lse, results_.lse.host + row * sizeof(float)});
    }
    first += sequence.n_q;
  }
  runtime_.stream().when_done([pieces = std::move(pieces)] {
    for (const Piece& piece : pieces) {
      if (!piece.target.empty()) {
        std::memcpy(piece.target.data(), piece.source, piece.target.size_bytes());
      }
    }
  });
  return {};
}

}  // namespace

Result<> record_attend(Runtime& runtime, const AttendArgs& args) {
  return AttendRecorder(runtime, args).record();
}

}  // namespace kvault::vulkan
