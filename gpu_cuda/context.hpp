#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/device/backend.hpp"
#include "gpu_cuda/api.hpp"

namespace kvault::cuda {

/// The driver and a context of one of its devices: the primary one, which an engine on the CUDA
/// runtime uses too, or one that an engine lends. Closed last.
class Context {
 public:
  /// `wanted` as in core/device/adapter_choice.hpp.
  static Result<std::shared_ptr<const Context>> open(std::string_view wanted);
  /// A context of an engine's, which outlives the object; null: the calling thread's current one.
  static Result<std::shared_ptr<const Context>> borrow(CUcontext handle);
  /// Every device of this machine, with the reason why an unusable one is.
  static Result<std::vector<DeviceAdapter>> list();

  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context();

  const Api& api() const { return api_; }
  CUcontext handle() const { return handle_; }
  CUdevice device() const { return device_; }
  const DeviceAdapter& adapter() const { return adapter_; }
  /// 80 for 8.0.
  int architecture() const { return architecture_; }
  std::uint32_t n_multiprocessor() const { return n_multiprocessor_; }
  Result<> check(CUresult result, std::string_view what) const { return api_.check(result, what); }

  /// Makes the context the calling thread's for as long as it lives, as an engine may have another.
  class Scope {
   public:
    explicit Scope(const Context& context) : context_(context) {
      is_entered_ = context.api_.cuCtxPushCurrent(context.handle_) == CUDA_SUCCESS;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    bool is_entered() const { return is_entered_; }
    ~Scope() {
      CUcontext popped = nullptr;
      if (is_entered_) (void)context_.api_.cuCtxPopCurrent(&popped);
    }

   private:
    const Context& context_;
    bool is_entered_ = false;
  };

 private:
  Result<int> attribute(CUdevice device, CUdevice_attribute which) const;
  Result<DeviceAdapter> describe(CUdevice device) const;
  Result<> choose_device(CUdevice device);
  Result<std::vector<DeviceAdapter>> describe_all() const;

  Api api_;
  DeviceAdapter adapter_;
  CUdevice device_ = 0;
  CUcontext handle_ = nullptr;
  bool is_lent_ = false;
  int architecture_ = 0;
  std::uint32_t n_multiprocessor_ = 0;
};

}  // namespace kvault::cuda
