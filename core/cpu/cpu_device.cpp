#include "core/cpu/cpu_device.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <optional>
#include <system_error>
#include <vector>

#include "core/base/assert.hpp"
#include "core/cpu/aligned_array.hpp"
#include "core/cpu/block_decoder.hpp"
#include "core/cpu/block_encoder.hpp"
#include "core/cpu/cpu_attend.hpp"
#include "core/cpu/instruction_set.hpp"
#include "core/cpu/rotation_set.hpp"
#include "core/cpu/segment_arena.hpp"
#include "core/layout/block_layout.hpp"
#include "core/os/thread_pool.hpp"

namespace kvault::cpu {
namespace {

constexpr std::uint32_t kThreadMax = 256;

/// Buffers have memory of their own until they fill a chunk of the arena; under AddressSanitizer
/// always, so that it sees where each ends.
#ifdef __SANITIZE_ADDRESS__
constexpr std::uint64_t kOwnBytesMax = std::numeric_limits<std::uint64_t>::max();
#else
constexpr std::uint64_t kOwnBytesMax = SegmentArena::kChunkBytes;
#endif

/// Host memory: the device's own, or adopted from the caller and then read-only.
class CpuBuffer final : public Buffer {
 public:
  explicit CpuBuffer(AlignedArray<std::byte> own)
      : own_(std::move(own)), writable_(own_.span()), bytes_(writable_) {}
  explicit CpuBuffer(SegmentArena::Piece piece)
      : piece_(std::move(piece)), writable_(piece_.bytes()), bytes_(writable_) {}
  explicit CpuBuffer(std::span<const std::byte> adopted) : bytes_(adopted) {}

  std::uint64_t size_bytes() const noexcept override { return bytes_.size(); }
  std::span<const std::byte> bytes() const { return bytes_; }
  /// pre: the memory is the device's own
  std::span<std::byte> writable() {
    KVAULT_ASSERT(writable_.data() != nullptr);
    return writable_;
  }

 private:
  AlignedArray<std::byte> own_;
  SegmentArena::Piece piece_;
  std::span<std::byte> writable_;
  std::span<const std::byte> bytes_;
};

std::span<const std::byte> bytes_of(const Buffer* buffer) {
  return static_cast<const CpuBuffer*>(buffer)->bytes();
}

/// The equaliser of one block; empty where there is none.
std::span<const Half> part_of(std::span<const Half> equaliser, std::size_t index,
                              std::uint32_t head_dim) {
  if (equaliser.empty()) return {};
  return equaliser.subspan(index * head_dim, head_dim);
}

class CpuDevice final : public Device {
 public:
  CpuDevice(std::uint32_t n_thread, InstructionSet instructions)
      : instructions_(instructions), pool_(n_thread) {
    for (std::uint32_t i = 0; i < pool_.n_thread(); ++i) {
      encoders_.emplace_back(instructions_);
      decoders_.emplace_back(instructions_);
    }
    caps_.adopts_host_memory = true;
    caps_.instruction_set = name_of(instructions);
    caps_.n_thread = pool_.n_thread();
    caps_.scratch_size_bytes = CpuAttend::scratch_size_bytes(instructions, pool_.n_thread());
  }

  std::string_view name() const noexcept override { return "cpu"; }
  const DeviceCaps& caps() const noexcept override { return caps_; }

  Result<std::unique_ptr<Buffer>> allocate(const BufferOptions& options) override;
  Result<Ticket> upload(Buffer& target, std::uint64_t offset_bytes,
                        std::span<const std::byte> source) override;
  Result<Ticket> download(const Buffer& source, std::uint64_t offset_bytes,
                          std::span<std::byte> target) override;
  Result<Ticket> encode(const EncodeArgs& args) override;
  Result<Ticket> attend(const AttendArgs& args) override;
  Result<Ticket> reconstruct(const ReconstructArgs& args) override;
  Result<> wait(Ticket) override { return {}; }

 private:
  Ticket finished() { return Ticket{++n_finished_}; }
  void encode_block(const EncodeArgs& args, std::size_t index, BlockEncoder& encoder) const;
  void reconstruct_block(const ReconstructArgs& args, std::size_t index,
                         BlockDecoder& decoder) const;

  InstructionSet instructions_;
  ThreadPool pool_;
  std::optional<CpuAttend> attend_;  ///< once anything was attended: its scratch is large
  RotationSet rotations_;
  std::vector<BlockEncoder> encoders_;  ///< one per thread
  std::vector<BlockDecoder> decoders_;  ///< likewise
  DeviceCaps caps_;
  std::uint64_t n_finished_ = 0;
  std::shared_ptr<SegmentArena> arena_ = SegmentArena::create();
  std::uint64_t own_bytes_ = 0;  ///< that buffers were given outside the arena
};

Result<std::unique_ptr<Buffer>> CpuDevice::allocate(const BufferOptions& options) try {
  if (!options.host_memory.empty()) {
    return std::unique_ptr<Buffer>(std::make_unique<CpuBuffer>(options.host_memory));
  }
  const bool is_piece = own_bytes_ >= kOwnBytesMax && options.size_bytes > 0 &&
                        options.size_bytes <= SegmentArena::kPieceBytesMax;
  if (!is_piece) {
    own_bytes_ += std::min<std::uint64_t>(options.size_bytes, SegmentArena::kChunkBytes);
    return std::unique_ptr<Buffer>(
        std::make_unique<CpuBuffer>(AlignedArray<std::byte>(options.size_bytes)));
  }
  SegmentArena::Piece piece = arena_->take(options.size_bytes);
  if (options.is_zeroed) std::fill(piece.bytes().begin(), piece.bytes().end(), std::byte{0});
  return std::unique_ptr<Buffer>(std::make_unique<CpuBuffer>(std::move(piece)));
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, message("cpu: no memory for ", options.size_bytes, " bytes"));
}

Result<Ticket> CpuDevice::upload(Buffer& target, std::uint64_t offset_bytes,
                                 std::span<const std::byte> source) {
  const std::span<std::byte> bytes = static_cast<CpuBuffer&>(target).writable();
  KVAULT_ASSERT(offset_bytes <= bytes.size() && source.size() <= bytes.size() - offset_bytes);
  if (!source.empty()) std::memcpy(bytes.data() + offset_bytes, source.data(), source.size());
  return finished();
}

Result<Ticket> CpuDevice::download(const Buffer& source, std::uint64_t offset_bytes,
                                   std::span<std::byte> target) {
  const std::span<const std::byte> bytes = bytes_of(&source);
  KVAULT_ASSERT(offset_bytes <= bytes.size() && target.size() <= bytes.size() - offset_bytes);
  if (!target.empty()) std::memcpy(target.data(), bytes.data() + offset_bytes, target.size());
  return finished();
}

Result<Ticket> CpuDevice::encode(const EncodeArgs& args) {
  KVAULT_ASSERT(args.outcomes.size() == args.blocks.size());
  pool_.run(static_cast<std::uint32_t>(args.blocks.size()),
            [&](std::uint32_t index, std::uint32_t thread) {
              encode_block(args, index, encoders_[thread]);
            });
  return finished();
}

void CpuDevice::encode_block(const EncodeArgs& args, std::size_t index,
                             BlockEncoder& encoder) const {
  const BlockRef& source = args.blocks[index].source;
  const BlockRef& target = args.blocks[index].target;
  const std::uint32_t dim = args.head_dim;
  KVAULT_ASSERT(source.format.is_raw());
  const RowType type = source.format.row_type();
  const BlockEncoding encoding = {
      .side = args.side,
      .format = target.format,
      .rule = args.scale_rule,
      .rotation = rotations_.of(dim),
      .row_type = type,
      .rows =
          bytes_of(args.buffers[source.buffer])
              .subspan(source.offset_bytes, std::size_t{kPageTokens} * dim * size_bytes_of(type)),
      .equaliser = part_of(args.equaliser, index, dim)};
  const bool fits = encoder.encode(
      encoding, static_cast<CpuBuffer*>(args.buffers[target.buffer])
                    ->writable()
                    .subspan(target.offset_bytes, BlockLayout::of(target.format, dim).size_bytes));
  args.outcomes[index] = fits ? EncodeOutcome::coded : EncodeOutcome::does_not_fit;
}

Result<Ticket> CpuDevice::attend(const AttendArgs& args) try {
  std::vector<std::span<const std::byte>> buffers;
  buffers.reserve(args.buffers.size());
  for (const Buffer* buffer : args.buffers) buffers.push_back(bytes_of(buffer));
  if (!attend_) attend_.emplace(instructions_, pool_.n_thread());
  attend_->run(args, buffers, rotations_, pool_);
  return finished();
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "cpu: no memory to attend");
}

Result<Ticket> CpuDevice::reconstruct(const ReconstructArgs& args) {
  KVAULT_ASSERT(args.rows.size() ==
                args.blocks.size() * kPageTokens * args.head_dim * size_bytes_of(args.row_type));
  KVAULT_ASSERT(args.n_head > 0 && args.blocks.size() % args.n_head == 0);
  pool_.run(static_cast<std::uint32_t>(args.blocks.size()),
            [&](std::uint32_t index, std::uint32_t thread) {
              reconstruct_block(args, index, decoders_[thread]);
            });
  return finished();
}

void CpuDevice::reconstruct_block(const ReconstructArgs& args, std::size_t index,
                                  BlockDecoder& decoder) const {
  const BlockRef& ref = args.blocks[index];
  const std::uint32_t dim = args.head_dim;
  const std::size_t row_bytes = std::size_t{dim} * size_bytes_of(args.row_type);
  const std::size_t token_bytes = args.n_head * row_bytes;
  const std::size_t first_bytes =
      index / args.n_head * kPageTokens * token_bytes + index % args.n_head * row_bytes;
  decoder.decode(
      {.side = args.side,
       .format = ref.format,
       .rotation = rotations_.of(dim),
       .block = bytes_of(args.buffers[ref.buffer])
                    .subspan(ref.offset_bytes, BlockLayout::of(ref.format, dim).size_bytes),
       .equaliser = part_of(args.equaliser, index, dim),
       .row_type = args.row_type,
       .row_stride = std::size_t{args.n_head} * dim},
      args.rows.subspan(first_bytes, (kPageTokens - 1) * token_bytes + row_bytes));
}

/// The set that was asked for, or the best that this processor runs.
Result<InstructionSet> choose_instructions(std::string_view name) {
  for (const InstructionSet set : compiled_instruction_sets()) {
    if (name.empty() && is_supported(set)) return set;
    if (name != name_of(set)) continue;
    if (is_supported(set)) return set;
    return fail(Errc::device_absent, message("cpu: this processor has no ", name));
  }
  std::string names;
  for (const InstructionSet set : compiled_instruction_sets()) {
    names += (names.empty() ? "" : ", ") + std::string(name_of(set));
  }
  return fail(Errc::unsupported,
              message("cpu: instruction set \"", name, "\" is not one of this build's: ", names));
}

}  // namespace

Result<std::unique_ptr<Device>> open_device(const DeviceOptions& options) try {
  if (options.n_thread > kThreadMax) {
    return fail(Errc::limit_exceeded,
                message("cpu: ", options.n_thread, " threads asked for, at most ", kThreadMax));
  }
  if (!options.adapter.empty()) {
    return fail(Errc::invalid_argument, message("cpu: there is only one, so that \"",
                                                options.adapter, "\" chooses nothing"));
  }
  KVAULT_TRY(const InstructionSet instructions, choose_instructions(options.instruction_set));
  return std::unique_ptr<Device>(std::make_unique<CpuDevice>(options.n_thread, instructions));
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "cpu: no memory to open the device");
} catch (const std::system_error& error) {
  return fail(Errc::out_of_memory, message("cpu: cannot start threads: ", error.what()));
}

Result<std::vector<DeviceAdapter>> list_adapters() {
  KVAULT_TRY(const InstructionSet instructions, choose_instructions({}));
  DeviceAdapter host;
  host.name = "this machine's processor";
  host.kind = AdapterKind::cpu;
  host.driver = name_of(instructions);
  return std::vector<DeviceAdapter>{host};
}

}  // namespace kvault::cpu
