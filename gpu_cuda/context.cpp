#include "gpu_cuda/context.hpp"

#include <array>

#include "core/device/adapter_choice.hpp"

namespace kvault::cuda {
namespace {

/// A driver that runs on the CPU has it in its device's name.
constexpr std::string_view kEmulatedName = "emulated";

/// The least architecture that any kernel is made for.
constexpr int kArchitectureMin = 75;

std::string hex(const CUuuid& uuid) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char byte : uuid.bytes) {
    text += kDigits[static_cast<unsigned char>(byte) / 16];
    text += kDigits[static_cast<unsigned char>(byte) % 16];
  }
  return text;
}

Result<Api> start_driver() {
  KVAULT_TRY(Api api, Api::load());
  const CUresult started = api.cuInit(0);
  if (started != CUDA_SUCCESS) {
    return fail(Errc::device_absent, api.check(started, "starting the driver").error().message);
  }
  return api;
}

}  // namespace

Context::~Context() {
  if (handle_ != nullptr && !is_lent_) (void)api_.cuDevicePrimaryCtxRelease(device_);
}

Result<int> Context::attribute(CUdevice device, CUdevice_attribute which) const {
  int value = 0;
  KVAULT_CHECK(check(api_.cuDeviceGetAttribute(&value, which, device), "asking for an attribute"));
  return value;
}

Result<DeviceAdapter> Context::describe(CUdevice device) const {
  CUuuid uuid = {};
  std::array<char, 256> name = {};
  int version = 0;
  std::size_t memory_bytes = 0;
  KVAULT_CHECK(check(api_.cuDeviceGetName(name.data(), name.size(), device), "naming a device"));
  KVAULT_CHECK(check(api_.cuDeviceGetUuid(&uuid, device), "naming a device"));
  KVAULT_CHECK(check(api_.cuDeviceTotalMem(&memory_bytes, device), "measuring a device"));
  KVAULT_CHECK(check(api_.cuDriverGetVersion(&version), "naming the driver"));
  KVAULT_TRY(const int major, attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
  KVAULT_TRY(const int minor, attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
  KVAULT_TRY(const int integrated, attribute(device, CU_DEVICE_ATTRIBUTE_INTEGRATED));
  KVAULT_TRY(const int has_pools, attribute(device, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED));
  DeviceAdapter adapter{.name = name.data(),
                        .uuid = hex(uuid),
                        .kind = integrated != 0 ? AdapterKind::integrated : AdapterKind::discrete,
                        .driver = message("CUDA ", version / 1000, ".", version % 1000 / 10),
                        .memory_budget_bytes = memory_bytes,
                        .why_not = {}};
  if (adapter.name.find(kEmulatedName) != std::string::npos) adapter.kind = AdapterKind::cpu;
  if (10 * major + minor < kArchitectureMin) {
    adapter.why_not = message("its compute capability is ", major, ".", minor, ", less than ",
                              kArchitectureMin / 10, ".", kArchitectureMin % 10);
  } else if (has_pools == 0) {
    adapter.why_not = "its driver has no memory pools";
  }
  return adapter;
}

Result<std::vector<DeviceAdapter>> Context::describe_all() const {
  int n_device = 0;
  KVAULT_CHECK(check(api_.cuDeviceGetCount(&n_device), "counting devices"));
  std::vector<DeviceAdapter> adapters;
  for (int i = 0; i < n_device; ++i) {
    CUdevice device = 0;
    KVAULT_CHECK(check(api_.cuDeviceGet(&device, i), "finding a device"));
    KVAULT_TRY(DeviceAdapter adapter, describe(device));
    adapters.push_back(std::move(adapter));
  }
  return adapters;
}

Result<std::vector<DeviceAdapter>> Context::list() {
  Context context;
  KVAULT_TRY(context.api_, start_driver());
  KVAULT_TRY(std::vector<DeviceAdapter> adapters, context.describe_all());
  if (adapters.empty()) return fail(Errc::device_absent, "cuda: no device");
  return adapters;
}

Result<> Context::choose_device(CUdevice device) {
  KVAULT_TRY(const int major, attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
  KVAULT_TRY(const int minor, attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
  KVAULT_TRY(const int n, attribute(device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
  device_ = device;
  architecture_ = 10 * major + minor;
  n_multiprocessor_ = static_cast<std::uint32_t>(n);
  return {};
}

Result<std::shared_ptr<const Context>> Context::open(std::string_view wanted) {
  auto context = std::make_shared<Context>();
  KVAULT_TRY(context->api_, start_driver());
  KVAULT_TRY(const std::vector<DeviceAdapter> adapters, context->describe_all());
  KVAULT_TRY(const std::size_t index, choose_adapter("cuda", adapters, wanted));
  context->adapter_ = adapters[index];
  const Api& api = context->api_;
  CUdevice device = 0;
  KVAULT_CHECK(context->check(api.cuDeviceGet(&device, static_cast<int>(index)), "a device"));
  KVAULT_CHECK(context->choose_device(device));
  KVAULT_CHECK(context->check(api.cuDevicePrimaryCtxRetain(&context->handle_, device),
                              "opening the device"));
  return context;
}

Result<std::shared_ptr<const Context>> Context::borrow(CUcontext handle) {
  auto context = std::make_shared<Context>();
  KVAULT_TRY(context->api_, start_driver());
  const Api& api = context->api_;
  if (handle == nullptr) {
    KVAULT_CHECK(context->check(api.cuCtxGetCurrent(&handle), "asking for the context"));
  }
  if (handle == nullptr) {
    return fail(Errc::invalid_argument,
                "cuda: no context is lent, and the calling thread has no current one");
  }
  context->handle_ = handle;
  context->is_lent_ = true;
  const Scope scope(*context);
  if (!scope.is_entered()) {
    return fail(Errc::invalid_argument, "cuda: the lent context is none");
  }
  CUdevice device = 0;
  KVAULT_CHECK(context->check(api.cuCtxGetDevice(&device), "asking for the context's device"));
  KVAULT_TRY(context->adapter_, context->describe(device));
  if (!context->adapter_.why_not.empty()) {
    return fail(Errc::unsupported,
                message("cuda: the lent context's device, ", context->adapter_.name,
                        ", is not usable: ", context->adapter_.why_not));
  }
  KVAULT_CHECK(context->choose_device(device));
  return context;
}

}  // namespace kvault::cuda
