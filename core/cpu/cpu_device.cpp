#include "core/cpu/cpu_device.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <system_error>
#include <vector>

#include "core/base/assert.hpp"
#include "core/codec/block_encoder.hpp"
#include "core/codec/rotation.hpp"
#include "core/cpu/aligned_array.hpp"
#include "core/cpu/block_reader.hpp"
#include "core/cpu/cpu_attend.hpp"
#include "core/cpu/thread_pool.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault::cpu {
namespace {

constexpr std::uint32_t kThreadMax = 256;

/// Host memory: the device's own, or adopted from the caller and then read-only.
class CpuBuffer final : public Buffer {
 public:
  explicit CpuBuffer(AlignedArray<std::byte> own) : own_(std::move(own)), bytes_(own_.span()) {}
  explicit CpuBuffer(std::span<const std::byte> adopted) : bytes_(adopted) {}

  std::uint64_t size_bytes() const noexcept override { return bytes_.size(); }
  std::span<const std::byte> bytes() const { return bytes_; }
  /// pre: the memory is the device's own
  std::span<std::byte> writable() {
    KVAULT_ASSERT(own_.data() != nullptr);
    return own_.span();
  }

 private:
  AlignedArray<std::byte> own_;
  std::span<const std::byte> bytes_;
};

/// Every head_dim that has a rotation, built once.
class Rotations {
 public:
  Rotations() {
    for (std::uint32_t dim = 1; dim <= KVAULT_HEAD_DIM_MAX; ++dim) {
      if (is_supported_head_dim(dim)) rotations_.emplace_back(dim);
    }
  }
  const Rotation& of(std::uint32_t head_dim) const {
    for (const Rotation& rotation : rotations_) {
      if (rotation.head_dim() == head_dim) return rotation;
    }
    KVAULT_ASSERT(false);
    return rotations_.front();
  }

 private:
  std::vector<Rotation> rotations_;
};

std::span<const std::byte> bytes_of(const Buffer* buffer) {
  return static_cast<const CpuBuffer*>(buffer)->bytes();
}

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(std::uint32_t n_thread) : pool_(n_thread), tiles_(pool_.n_thread()) {
    caps_.adopts_host_memory = true;
    caps_.scratch_size_bytes = AttendTile::scratch_size_bytes() * pool_.n_thread();
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
  void encode_block(const EncodeArgs& args, std::size_t index, BlockEncoder& encoder,
                    std::span<float> rows);
  void reconstruct_block(const ReconstructArgs& args, std::size_t index, BlockReader& reader,
                         BlockTile& tile) const;

  ThreadPool pool_;
  std::vector<AttendTile> tiles_;  ///< one per thread
  Rotations rotations_;
  DeviceCaps caps_;
  std::uint64_t n_finished_ = 0;
};

Result<std::unique_ptr<Buffer>> CpuDevice::allocate(const BufferOptions& options) try {
  if (!options.host_memory.empty()) {
    return std::unique_ptr<Buffer>(std::make_unique<CpuBuffer>(options.host_memory));
  }
  return std::unique_ptr<Buffer>(
      std::make_unique<CpuBuffer>(AlignedArray<std::byte>(options.size_bytes)));
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

Result<Ticket> CpuDevice::encode(const EncodeArgs& args) try {
  KVAULT_ASSERT(args.outcomes.size() == args.blocks.size());
  const Rotation& rotation = rotations_.of(args.head_dim);
  std::vector<BlockEncoder> encoders(pool_.n_thread(), BlockEncoder(rotation));
  std::vector<std::vector<float>> rows(
      pool_.n_thread(), std::vector<float>(std::size_t{kPageTokens} * args.head_dim));
  pool_.run(static_cast<std::uint32_t>(args.blocks.size()),
            [&](std::uint32_t index, std::uint32_t thread) {
              encode_block(args, index, encoders[thread], rows[thread]);
            });
  return finished();
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "cpu: no memory to encode");
}

void CpuDevice::encode_block(const EncodeArgs& args, std::size_t index, BlockEncoder& encoder,
                             std::span<float> rows) {
  const EncodeBlock& block = args.blocks[index];
  KVAULT_ASSERT(block.source.format.is_raw() && !block.target.format.is_raw());
  const RowType type = block.source.format.row_type();
  const std::byte* const source =
      bytes_of(args.buffers[block.source.buffer]).data() + block.source.offset_bytes;
  if (type == RowType::f32) {
    std::memcpy(rows.data(), source, rows.size_bytes());
  } else if (type == RowType::f16) {
    widen_halves(reinterpret_cast<const Half*>(source), rows.data(), rows.size());
  } else {
    const auto* const halves = reinterpret_cast<const BFloat16*>(source);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = to_float(halves[i]);
  }
  const std::span<const Half> equaliser =
      args.equaliser.empty() ? args.equaliser
                             : args.equaliser.subspan(index * args.head_dim, args.head_dim);
  const std::span<std::byte> target =
      static_cast<CpuBuffer*>(args.buffers[block.target.buffer])
          ->writable()
          .subspan(block.target.offset_bytes,
                   BlockLayout::of(block.target.format, args.head_dim).size_bytes);
  const bool fits =
      encoder.encode({.side = args.side, .format = block.target.format, .rule = args.scale_rule},
                     rows, equaliser, target);
  args.outcomes[index] = fits ? EncodeOutcome::coded : EncodeOutcome::does_not_fit;
}

Result<Ticket> CpuDevice::attend(const AttendArgs& args) try {
  std::vector<std::span<const std::byte>> buffers;
  buffers.reserve(args.buffers.size());
  for (const Buffer* buffer : args.buffers) buffers.push_back(bytes_of(buffer));
  std::vector<AttendTile::Task> tasks;
  const Rotation& key_rotation = rotations_.of(args.key_head_dim);
  const Rotation& value_rotation = rotations_.of(args.value_head_dim);
  for (const AttendSequence& sequence : args.sequences) {
    const std::uint32_t n_row = sequence.n_q * (args.n_head / args.n_kv_head);
    for (std::uint32_t kv_head = 0; kv_head < args.n_kv_head; ++kv_head) {
      for (std::uint32_t row = 0; row < n_row; row += kRowTile) {
        tasks.push_back({args, sequence, buffers, key_rotation, value_rotation, kv_head, row,
                         std::min(kRowTile, n_row - row)});
      }
    }
  }
  pool_.run(static_cast<std::uint32_t>(tasks.size()),
            [&](std::uint32_t item, std::uint32_t thread) { tiles_[thread].run(tasks[item]); });
  return finished();
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "cpu: no memory to attend");
}

Result<Ticket> CpuDevice::reconstruct(const ReconstructArgs& args) try {
  KVAULT_ASSERT(args.rows.size() == args.blocks.size() * kPageTokens * args.head_dim);
  std::vector<BlockReader> readers;
  std::vector<BlockTile> tiles;
  for (std::uint32_t i = 0; i < pool_.n_thread(); ++i) {
    readers.emplace_back(args.head_dim);
    tiles.emplace_back(args.head_dim);
  }
  pool_.run(static_cast<std::uint32_t>(args.blocks.size()),
            [&](std::uint32_t index, std::uint32_t thread) {
              reconstruct_block(args, index, readers[thread], tiles[thread]);
            });
  return finished();
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "cpu: no memory to reconstruct");
}

void CpuDevice::reconstruct_block(const ReconstructArgs& args, std::size_t index,
                                  BlockReader& reader, BlockTile& tile) const {
  const BlockRef& ref = args.blocks[index];
  const std::uint32_t dim = args.head_dim;
  const std::span<const std::byte> bytes =
      bytes_of(args.buffers[ref.buffer])
          .subspan(ref.offset_bytes, BlockLayout::of(ref.format, dim).size_bytes);
  const bool is_key = args.side == Side::key;
  if (is_key) {
    reader.read_key(bytes, ref.format, dim, kPageTokens, tile);
  } else {
    reader.read_value(bytes, ref.format, dim, kPageTokens, tile);
  }
  const Rotation& rotation = rotations_.of(dim);
  for (std::uint32_t token = 0; token < kPageTokens; ++token) {
    const std::span<float> row = args.rows.subspan((index * kPageTokens + token) * dim, dim);
    for (std::uint32_t i = 0; i < dim; ++i) {
      const std::size_t at =
          is_key ? std::size_t{i} * kPageTokens + token : std::size_t{token} * tile.stride_dim + i;
      row[i] = tile.values.data()[at] * tile.factor.data()[token];
      if (tile.has_mean) row[i] += tile.mean.data()[i];
    }
    if (!tile.is_rotated) continue;
    rotation.apply_inverse(row);
    if (args.equaliser.empty()) continue;
    for (std::uint32_t i = 0; i < dim; ++i) row[i] /= to_float(args.equaliser[index * dim + i]);
  }
}

}  // namespace

Result<std::unique_ptr<Device>> open_device(const DeviceOptions& options) try {
  if (options.n_thread > kThreadMax) {
    return fail(Errc::limit_exceeded,
                message("cpu: ", options.n_thread, " threads asked for, at most ", kThreadMax));
  }
  return std::unique_ptr<Device>(std::make_unique<CpuDevice>(options.n_thread));
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "cpu: no memory to open the device");
} catch (const std::system_error& error) {
  return fail(Errc::out_of_memory, message("cpu: cannot start threads: ", error.what()));
}

}  // namespace kvault::cpu
