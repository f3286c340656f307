#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "gpu_vulkan/adapter.hpp"
#include "gpu_vulkan/api.hpp"
#include "gpu_vulkan/queue_lock.hpp"

namespace kvault::vulkan {

/// Handles of an engine that has a device already, of Vulkan 1.2 or later. It keeps owning them.
/// Nothing else may submit to the queue while a verb runs, unless there is a lock for it. What an
/// engine has enabled cannot be asked for: of what is optional, nothing is used that it does not
/// name.
struct BorrowedDevice {
  PFN_vkGetInstanceProcAddr get_instance_proc = nullptr;  ///< null: the loader is found
  VkInstance instance = VK_NULL_HANDLE;
  VkPhysicalDevice physical_device = VK_NULL_HANDLE;
  VkDevice device = VK_NULL_HANDLE;  ///< with bufferDeviceAddress and timelineSemaphore enabled
  VkQueue queue = VK_NULL_HANDLE;    ///< of a family with compute
  std::uint32_t queue_family = 0;
  QueueLock queue_lock = {};
  bool has_dot_product = false;      ///< shaderIntegerDotProduct is enabled
  bool imports_host_memory = false;  ///< VK_EXT_external_memory_host is enabled
};

/// What memory is for.
enum class MemoryKind : std::uint8_t {
  device,    ///< the device's own
  upload,    ///< written by the host, read by the device
  download,  ///< written by the device, read by the host
};
inline constexpr std::size_t kMemoryKinds = 3;

/// An instance, a device and its queue; owned, or borrowed from an engine. Closed last. A queue
/// without a lock belongs to one thread at a time: a Device has a Context of its own.
class Context {
 public:
  /// `wanted` as in choose_adapter. With KVAULT_VULKAN_VALIDATE=1 in the environment the validation
  /// layers are on, and a message of theirs ends the process.
  static Result<std::shared_ptr<const Context>> open(std::string_view wanted);
  /// Errc::invalid_argument, out_of_range or unsupported says which handle or feature is wrong.
  static Result<std::shared_ptr<const Context>> borrow(const BorrowedDevice& borrowed);
  /// Every adapter of this machine; see list_adapters.
  static Result<std::vector<Adapter>> list();

  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context();

  const Api& api() const { return api_; }
  const Adapter& adapter() const { return adapter_; }
  VkInstance instance() const { return instance_; }
  VkDevice device() const { return device_; }
  VkQueue queue() const { return queue_; }
  /// To be held while something is submitted to the queue.
  const QueueLock& queue_lock() const { return queue_lock_; }
  std::uint32_t queue_family() const { return adapter_.queue_family; }
  /// Whether host memory can be imported, mapped files too, and reading it is as good as reading
  /// the device's own.
  bool imports_host_memory() const { return imports_host_memory_; }
  bool has_dot_product() const { return has_dot_product_; }
  /// The types of memory for a kind among those of `type_bits`, best first; none may be there.
  std::vector<std::uint32_t> memory_types(MemoryKind kind, std::uint32_t type_bits) const;
  /// Bytes of the type's heap that this process may still take before the driver begins to move
  /// memory to and fro; all of the heap where the driver does not say.
  std::uint64_t heap_left_bytes(std::uint32_t memory_type) const;
  /// The same of all heaps of the device's own memory; 0 where the driver does not say.
  std::uint64_t memory_budget_bytes() const;

 private:
  static Result<std::shared_ptr<Context>> open_once(std::string_view wanted);
  Result<> create_instance();
  Result<> create_device();
  Result<> adopt_device(const BorrowedDevice& borrowed);
  void read_memory_types();
  VkPhysicalDeviceMemoryBudgetPropertiesEXT read_memory_budget() const;

  Api api_;
  Adapter adapter_;
  VkInstance instance_ = VK_NULL_HANDLE;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  QueueLock queue_lock_;
  VkPhysicalDeviceMemoryProperties memory_ = {};
  bool is_borrowed_ = false;
  bool imports_host_memory_ = false;
  bool has_dot_product_ = false;
};

}  // namespace kvault::vulkan
