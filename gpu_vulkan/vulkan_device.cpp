#include <algorithm>
#include <new>

#include "core/base/assert.hpp"
#include "gpu_vulkan/attend.hpp"
#include "gpu_vulkan/encode.hpp"
#include "gpu_vulkan/reconstruct.hpp"
#include "gpu_vulkan/upload_run.hpp"
#include "gpu_vulkan/vulkan_buffer.hpp"
#include "gpu_vulkan/vulkan_device.hpp"

namespace kvault::vulkan {
namespace {

class VulkanDevice final : public Device {
 public:
  explicit VulkanDevice(std::shared_ptr<Runtime> runtime)
      : runtime_(std::move(runtime)), uploads_(runtime_->stream()) {
    caps_.adopts_host_memory = runtime_->context().imports_host_memory();
    caps_.is_emulated = runtime_->context().adapter().type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    caps_.scratch_size_bytes = attend_scratch_size_bytes();
  }

  std::string_view name() const noexcept override { return "vulkan"; }
  const DeviceCaps& caps() const noexcept override { return caps_; }

  Result<std::unique_ptr<Buffer>> allocate(const BufferOptions& options) override;
  Result<Ticket> upload(Buffer& target, std::uint64_t offset_bytes,
                        std::span<const std::byte> source) override;
  Result<Ticket> download(const Buffer& source, std::uint64_t offset_bytes,
                          std::span<std::byte> target) override;
  Result<Ticket> encode(const EncodeArgs& args) override;
  Result<Ticket> attend(const AttendArgs& args) override;
  Result<Ticket> reconstruct(const ReconstructArgs& args) override;
  Result<> wait(Ticket ticket) override;

 private:
  Result<std::unique_ptr<Buffer>> allocate_own(const BufferOptions& options);
  Result<std::unique_ptr<Buffer>> adopt(std::span<const std::byte> bytes);
  template <class Record>
  Result<Ticket> hand_in(std::string_view what, const Record& record);

  std::shared_ptr<Runtime> runtime_;
  UploadRun uploads_;
  DeviceCaps caps_;
};

/// Records, after all that came before, and has the device start on it. A call that fails leaves
/// nothing of it under way: the caller may give up its memory at once.
template <class Record>
Result<Ticket> VulkanDevice::hand_in(std::string_view what, const Record& record) {
  Stream& stream = runtime_->stream();
  Result<> done = stream.barrier();
  try {
    if (done) done = record();
  } catch (const std::bad_alloc&) {
    done = fail(Errc::out_of_memory, message("vulkan: no memory to ", what));
  }
  if (done) done = stream.submit();
  if (!done) {
    (void)stream.wait(stream.open_value());
    return tl::unexpected(done.error());
  }
  return Ticket{stream.open_value() - 1};
}

Result<std::unique_ptr<Buffer>> VulkanDevice::allocate(const BufferOptions& options) try {
  KVAULT_CHECK(runtime_->stream().check_alive());
  return options.host_memory.empty() ? allocate_own(options) : adopt(options.host_memory);
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "vulkan: no memory to allocate a buffer");
}

Result<std::unique_ptr<Buffer>> VulkanDevice::allocate_own(const BufferOptions& options) {
  MemoryPool& pool = runtime_->pool(MemoryKind::device);
  Result<MemoryRange> range = pool.take(options.size_bytes);
  if (!range) {
    // What was given up may still be waiting for the device.
    KVAULT_CHECK(runtime_->stream().wait(runtime_->stream().open_value()));
    range = pool.take(options.size_bytes);
  }
  if (!range) return tl::unexpected(range.error());
  auto buffer = std::make_unique<VulkanBuffer>(runtime_, *range, options.size_bytes);
  KVAULT_CHECK(runtime_->stream().barrier());
  if (!options.is_zeroed) return std::unique_ptr<Buffer>(std::move(buffer));
  KVAULT_CHECK(runtime_->fill_zero(*range));
  KVAULT_CHECK(runtime_->stream().barrier());
  return std::unique_ptr<Buffer>(std::move(buffer));
}

/// Imports the whole pages of memory around the bytes.
Result<std::unique_ptr<Buffer>> VulkanDevice::adopt(std::span<const std::byte> bytes) {
  KVAULT_ASSERT(caps_.adopts_host_memory);
  const std::uint64_t alignment = runtime_->context().adapter().import_alignment_bytes;
  const std::uint64_t before = reinterpret_cast<std::uintptr_t>(bytes.data()) % alignment;
  const std::uint64_t size_bytes = (before + bytes.size() + alignment - 1) / alignment * alignment;
  KVAULT_TRY(std::unique_ptr<MemoryBlock> block,
             MemoryBlock::import_host(runtime_->context(), {bytes.data() - before, size_bytes}));
  MemoryRange range = block->whole();
  range.offset_bytes = before;
  range.address += before;
  range.size_bytes = bytes.size();
  return std::unique_ptr<Buffer>(
      std::make_unique<VulkanBuffer>(runtime_, std::move(block), range, bytes.size()));
}

/// Runs together with what is handed in next: rows come in many small uploads.
Result<Ticket> VulkanDevice::upload(Buffer& target, std::uint64_t offset_bytes,
                                    std::span<const std::byte> source) try {
  const MemoryRange& range = range_of(&target);
  KVAULT_ASSERT(!static_cast<VulkanBuffer&>(target).is_imported());
  KVAULT_ASSERT(offset_bytes <= target.size_bytes() &&
                source.size() <= target.size_bytes() - offset_bytes);
  KVAULT_CHECK(runtime_->stream().check_alive());
  KVAULT_CHECK(uploads_.begin(range, offset_bytes, source.size()));
  for (std::uint64_t done = 0; done < source.size(); done += kPieceSizeBytes) {
    const auto piece =
        source.subspan(done, std::min<std::uint64_t>(kPieceSizeBytes, source.size() - done));
    KVAULT_TRY(const MemoryRange staged, runtime_->stage(MemoryKind::upload, piece.size()));
    std::memcpy(staged.host, piece.data(), piece.size());
    KVAULT_CHECK(runtime_->copy(staged, 0, range, offset_bytes + done, piece.size()));
    KVAULT_CHECK(runtime_->pace(piece.size()));
  }
  uploads_.end();
  return Ticket{runtime_->stream().open_value()};
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "vulkan: no memory to upload");
}

Result<Ticket> VulkanDevice::download(const Buffer& source, std::uint64_t offset_bytes,
                                      std::span<std::byte> target) {
  KVAULT_ASSERT(offset_bytes <= source.size_bytes() &&
                target.size() <= source.size_bytes() - offset_bytes);
  return hand_in("download", [&]() -> Result<> {
    for (std::uint64_t done = 0; done < target.size(); done += kPieceSizeBytes) {
      const auto piece =
          target.subspan(done, std::min<std::uint64_t>(kPieceSizeBytes, target.size() - done));
      KVAULT_TRY(const MemoryRange staged, runtime_->stage(MemoryKind::download, piece.size()));
      KVAULT_CHECK(runtime_->copy(range_of(&source), offset_bytes + done, staged, 0, piece.size()));
      runtime_->stream().when_done(
          [staged, piece] { std::memcpy(piece.data(), staged.host, piece.size()); });
      KVAULT_CHECK(runtime_->pace(piece.size()));
    }
    return {};
  });
}

Result<Ticket> VulkanDevice::encode(const EncodeArgs& args) {
  return hand_in("encode", [&] { return record_encode(*runtime_, args); });
}

Result<Ticket> VulkanDevice::attend(const AttendArgs& args) {
  return hand_in("attend", [&] { return record_attend(*runtime_, args); });
}

Result<Ticket> VulkanDevice::reconstruct(const ReconstructArgs& args) {
  return hand_in("reconstruct", [&] { return record_reconstruct(*runtime_, args); });
}

Result<> VulkanDevice::wait(Ticket ticket) {
  return runtime_->stream().wait(static_cast<std::uint64_t>(ticket));
}

}  // namespace

std::unique_ptr<Device> open_device(std::shared_ptr<Runtime> runtime) {
  return std::make_unique<VulkanDevice>(std::move(runtime));
}

Result<std::unique_ptr<Device>> open_device(std::shared_ptr<const Context> context) try {
  KVAULT_TRY(std::shared_ptr<Runtime> runtime, Runtime::create(std::move(context)));
  return open_device(std::move(runtime));
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "vulkan: no memory to open the device");
}

Result<std::unique_ptr<Device>> open_device(const DeviceOptions& options) try {
  KVAULT_TRY(std::shared_ptr<const Context> context, Context::open(options.adapter));
  return open_device(std::move(context));
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "vulkan: no memory to open the device");
}

}  // namespace kvault::vulkan
