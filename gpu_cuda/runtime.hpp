#pragma once

#include <map>
#include <memory>
#include <span>
#include <string_view>

#include "core/device/device.hpp"
#include "gpu_cuda/kept_tables.hpp"
#include "gpu_cuda/kernels.hpp"
#include "gpu_cuda/launch_times.hpp"
#include "gpu_cuda/staging.hpp"
#include "gpu_cuda/stream.hpp"

namespace kvault::cuda {

class StandingAttend;

/// What all verbs of a device work with. Shared with the buffers, whose memory is its pool's.
class Runtime {
 public:
  static Result<std::shared_ptr<Runtime>> create(std::shared_ptr<const Context> context);
  /// On a stream of an engine's; see Stream::borrow().
  static Result<std::shared_ptr<Runtime>> borrow(std::shared_ptr<const Context> context,
                                                 CUstream stream);
  explicit Runtime(std::shared_ptr<const Context> context)
      : context_(std::move(context)), kept_tables_(*this) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  ~Runtime();

  const Context& context() const { return *context_; }
  const Api& api() const { return context_->api(); }
  Stream& stream() { return *stream_; }
  /// The copy queue: brings memory in while the stream does other work. Its memory is its own until
  /// the stream follows it.
  Stream& copies() { return *copies_; }
  Staging& copy_staging() { return *copy_staging_; }

  /// Memory of the device, ordered with the stream's work; anything stands in it.
  Result<CUdeviceptr> allocate(std::uint64_t size_bytes) { return allocate(size_bytes, *stream_); }
  /// Ordered with the work of one of the two streams.
  Result<CUdeviceptr> allocate(std::uint64_t size_bytes, Stream& stream);
  /// Once the work handed in so far is done.
  void release(CUdeviceptr memory);
  /// By way of pinned memory, so that `source` may be used again at once.
  Result<> upload(CUdeviceptr target, std::span<const std::byte> source) {
    return staging_->upload(target, source);
  }
  /// `target` is filled in the wait() that finds the open stretch done.
  Result<> download(std::span<std::byte> target, CUdeviceptr source);
  Result<> fill_zero(CUdeviceptr memory, std::uint64_t size_bytes);
  /// `params` is the struct that the kernel takes.
  template <class Params>
  Result<> launch(Kernel kernel, const Params& params, std::uint64_t n_block) {
    return launch_bytes(kernel, const_cast<Params*>(&params), n_block);
  }
  KeptTables& kept_tables() { return kept_tables_; }
  /// Attends are laid there instead of being done, where it is not null.
  StandingAttend* standing() const { return standing_; }
  void set_standing(StandingAttend* standing) { standing_ = standing; }
  /// Stays where it is.
  Result<RotationTable> rotation(std::uint32_t head_dim);

 private:
  Result<> set_up(std::unique_ptr<Stream> stream);
  Result<> launch_bytes(Kernel kernel, void* params, std::uint64_t n_block);

  std::shared_ptr<const Context> context_;
  CUmemoryPool pool_ = nullptr;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Kernels> kernels_;
  std::unique_ptr<LaunchTimes> times_;
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<Stream> copies_;
  std::unique_ptr<Staging> copy_staging_;
  struct Table {
    CUdeviceptr memory;
    RotationTable table;
  };
  std::map<std::uint32_t, Table> rotations_;  ///< by head_dim
  KeptTables kept_tables_;
  StandingAttend* standing_ = nullptr;
};

/// Memory of the device for one call: given back, in the stream's order, with the object.
class CallMemory {
 public:
  explicit CallMemory(Runtime& runtime) : runtime_(runtime) {}
  CallMemory(const CallMemory&) = delete;
  CallMemory& operator=(const CallMemory&) = delete;
  ~CallMemory() {
    if (memory_ != 0) runtime_.release(memory_);
  }
  /// Once.
  Result<> allocate(std::uint64_t size_bytes) {
    KVAULT_TRY(memory_, runtime_.allocate(size_bytes));
    return {};
  }
  CUdeviceptr address() const { return memory_; }

 private:
  Runtime& runtime_;
  CUdeviceptr memory_ = 0;
};

}  // namespace kvault::cuda
