#include "gpu_cuda/cuda_device.hpp"

#include <algorithm>
#include <deque>
#include <new>

#include "core/base/assert.hpp"
#include "gpu_cuda/attend.hpp"
#include "gpu_cuda/cuda_buffer.hpp"
#include "gpu_cuda/encode.hpp"
#include "gpu_cuda/lent_memory.hpp"
#include "gpu_cuda/reconstruct.hpp"
#include "gpu_cuda/standing_attend.hpp"

namespace kvault::cuda {
namespace {

class CudaDevice final : public Device {
 public:
  CudaDevice(std::shared_ptr<Runtime> runtime, std::unique_ptr<EngineMemory> engine_memory)
      : runtime_(std::move(runtime)), engine_memory_(std::move(engine_memory)) {
    caps_.is_emulated = runtime_->context().adapter().kind == AdapterKind::cpu;
    caps_.scratch_size_bytes = attend_scratch_size_bytes();
  }

  std::string_view name() const noexcept override { return "cuda"; }
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
  EngineMemory* engine_memory() noexcept override { return engine_memory_.get(); }

 private:
  template <class Work>
  Result<Ticket> hand_in(std::string_view what, const Work& work, bool ends_stretch = true);
  Result<Ticket> fill(CudaBuffer& target, std::span<const std::byte> source);
  Result<> wait_for_arrivals(std::uint64_t value);

  /// What the copy queue brings in, by when it was asked to.
  struct Arrival {
    std::uint64_t value;  ///< the stream's open stretch then
    std::uint64_t copies_value;
  };

  std::shared_ptr<Runtime> runtime_;
  std::unique_ptr<EngineMemory> engine_memory_;  ///< null: no engine lends its own
  DeviceCaps caps_;
  std::deque<Arrival> arrivals_;
};

/// A call that fails leaves nothing of it under way: the caller may give up its memory at once.
template <class Work>
Result<Ticket> CudaDevice::hand_in(std::string_view what, const Work& work, bool ends_stretch) {
  const Context::Scope scope(runtime_->context());
  Stream& stream = runtime_->stream();
  Result<> done;
  try {
    done = work();
  } catch (const std::bad_alloc&) {
    done = fail(Errc::out_of_memory, message("cuda: no memory to ", what));
  }
  if (!done) {
    (void)stream.wait(stream.open_value());
    return tl::unexpected(done.error());
  }
  if (!ends_stretch) return Ticket{stream.open_value()};
  KVAULT_TRY(const std::uint64_t value, stream.mark());
  return Ticket{value};
}

Result<std::unique_ptr<Buffer>> CudaDevice::allocate(const BufferOptions& options) try {
  KVAULT_ASSERT(options.host_memory.empty());
  const Context::Scope scope(runtime_->context());
  auto buffer = std::make_unique<CudaBuffer>(runtime_, options.size_bytes);
  KVAULT_CHECK(buffer->allocate(options.is_zeroed));
  return std::unique_ptr<Buffer>(std::move(buffer));
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "cuda: no memory to allocate a buffer");
}

/// Not a stretch of its own: rows come in many small uploads.
Result<Ticket> CudaDevice::upload(Buffer& target, std::uint64_t offset_bytes,
                                  std::span<const std::byte> source) try {
  KVAULT_ASSERT(offset_bytes <= target.size_bytes() &&
                source.size() <= target.size_bytes() - offset_bytes);
  const Context::Scope scope(runtime_->context());
  auto& buffer = static_cast<CudaBuffer&>(target);
  if (buffer.is_to_be_filled()) return fill(buffer, source);
  KVAULT_CHECK(buffer.settle());
  KVAULT_CHECK(runtime_->upload(buffer.memory() + offset_bytes, source));
  return Ticket{runtime_->stream().open_value()};
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "cuda: no memory to upload");
}

Result<Ticket> CudaDevice::fill(CudaBuffer& target, std::span<const std::byte> source) {
  const std::uint64_t value = runtime_->stream().open_value();
  while (!arrivals_.empty() && arrivals_.front().copies_value <= runtime_->copies().done_value()) {
    arrivals_.pop_front();
  }
  arrivals_.push_back({value, runtime_->copies().open_value()});
  KVAULT_CHECK(target.fill(source));
  arrivals_.back().copies_value = target.arrival();
  return Ticket{value};
}

/// Of those that were handed in before the end of that stretch.
Result<> CudaDevice::wait_for_arrivals(std::uint64_t value) {
  while (!arrivals_.empty() && arrivals_.front().value <= value) {
    KVAULT_CHECK(runtime_->copies().wait(arrivals_.front().copies_value));
    arrivals_.pop_front();
  }
  return {};
}

Result<Ticket> CudaDevice::download(const Buffer& source, std::uint64_t offset_bytes,
                                    std::span<std::byte> target) {
  KVAULT_ASSERT(offset_bytes <= source.size_bytes() &&
                target.size() <= source.size_bytes() - offset_bytes);
  return hand_in("download", [&]() -> Result<> {
    KVAULT_CHECK(cuda_buffer(source).settle());
    return runtime_->download(target, memory_of(source) + offset_bytes);
  });
}

Result<Ticket> CudaDevice::encode(const EncodeArgs& args) {
  return hand_in("encode", [&]() -> Result<> {
    KVAULT_CHECK(settle(args.buffers));
    return hand_in_encode(*runtime_, args);
  });
}

Result<Ticket> CudaDevice::attend(const AttendArgs& args) {
  // What stays on the device is waited for by nobody.
  const bool ends_stretch = std::any_of(args.sequences.begin(), args.sequences.end(),
                                        [](const auto& sequence) { return !sequence.on_device; });
  const auto work = [&]() -> Result<> {
    KVAULT_CHECK(settle(args.buffers));
    StandingAttend* const standing = runtime_->standing();
    return standing != nullptr ? standing->update(args) : hand_in_attend(*runtime_, args);
  };
  return hand_in("attend", work, ends_stretch);
}

Result<Ticket> CudaDevice::reconstruct(const ReconstructArgs& args) {
  return hand_in("reconstruct", [&]() -> Result<> {
    KVAULT_CHECK(settle(args.buffers));
    return hand_in_reconstruct(*runtime_, args);
  });
}

Result<> CudaDevice::wait(Ticket ticket) try {
  const Context::Scope scope(runtime_->context());
  KVAULT_CHECK(runtime_->stream().wait(static_cast<std::uint64_t>(ticket)));
  return wait_for_arrivals(static_cast<std::uint64_t>(ticket));
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "cuda: no memory to wait");
}

}  // namespace

std::unique_ptr<Device> open_device(std::shared_ptr<Runtime> runtime) {
  return std::make_unique<CudaDevice>(std::move(runtime), nullptr);
}

Result<std::unique_ptr<Device>> open_lent_device(const LentDevice& lent) {
  KVAULT_TRY(std::shared_ptr<const Context> context, Context::borrow(lent.context));
  KVAULT_TRY(std::shared_ptr<Runtime> runtime, Runtime::borrow(std::move(context), lent.stream));
  auto memory = std::make_unique<LentMemory>(runtime, lent.rows_are_finite);
  return std::make_unique<CudaDevice>(std::move(runtime), std::move(memory));
}

Result<std::unique_ptr<Device>> open_device(const DeviceOptions& options) try {
  KVAULT_TRY(std::shared_ptr<const Context> context, Context::open(options.adapter));
  KVAULT_TRY(std::shared_ptr<Runtime> runtime, Runtime::create(std::move(context)));
  return open_device(std::move(runtime));
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "cuda: no memory to open the device");
}

Result<std::vector<DeviceAdapter>> list_adapters() try {
  return Context::list();
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "cuda: no memory to list devices");
}

}  // namespace kvault::cuda
