#include "gpu_vulkan/context.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "tests/support/skip.hpp"
#include "tests/unit/gpu_vulkan/device_case.hpp"
#include "tests/unit/gpu_vulkan/faulty_driver.hpp"

namespace kvault::vulkan {
namespace {

TEST_CASE("vulkan context: what is listed is what can be opened") {
  const Result<std::vector<Adapter>> adapters = Context::list();
  if (!adapters) KVAULT_TEST_SKIP("no Vulkan driver");
  for (std::size_t i = 0; i < adapters->size(); ++i) {
    const Adapter& adapter = (*adapters)[i];
    const auto context = Context::open(std::to_string(i));
    CHECK(context.has_value() == adapter.why_not.empty());
    if (!context) {
      CHECK(context.error().code == Errc::device_absent);
      continue;
    }
    CHECK((*context)->adapter().uuid == adapter.uuid);
    CHECK(adapter.uuid.size() == 32);
    CHECK(adapter.cache_uuid.size() == 16);
    for (const MemoryKind kind : {MemoryKind::device, MemoryKind::upload, MemoryKind::download}) {
      CHECK_FALSE((*context)->memory_types(kind, ~0U).empty());
      CHECK((*context)->memory_types(kind, 0).empty());
    }
  }
}

TEST_CASE("vulkan context: an adapter that is not there is an error that lists those that are") {
  const Result<std::vector<Adapter>> adapters = Context::list();
  if (!adapters || adapters->empty()) KVAULT_TEST_SKIP("no Vulkan driver");
  const auto context = Context::open("no such thing");
  REQUIRE_FALSE(context);
  CHECK(context.error().code == Errc::device_absent);
  CHECK(context.error().message.find(adapters->front().name) != std::string::npos);
}

TEST_CASE("vulkan context: a borrowed device computes what an owned one does, and stays whole") {
  const auto own = test::open_context();
  if (own == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  BorrowedDevice lent = test::lend(*own);
  const auto encode = [](std::shared_ptr<const Context> context) {
    const std::unique_ptr<Device> device = test::open_device(std::move(context));
    test::DeviceCase verbs(*device);
    for (const std::string_view verb : test::DeviceCase::kVerbs) REQUIRE(verbs.run(verb));
    REQUIRE(verbs.run("download"));
    CHECK(verbs.bytes() == verbs.rows());
    return test::download(*device, verbs.coded());
  };
  const test::Bytes expected = encode(own);
  CHECK(expected != test::Bytes(expected.size()));
  for (const PFN_vkGetInstanceProcAddr loader :
       {PFN_vkGetInstanceProcAddr{}, own->api().vkGetInstanceProcAddr}) {
    lent.get_instance_proc = loader;
    const auto borrowed = Context::borrow(lent);
    REQUIRE(borrowed);
    CHECK((*borrowed)->adapter().uuid == own->adapter().uuid);
    CHECK_FALSE((*borrowed)->imports_host_memory());
    CHECK(encode(*borrowed) == expected);
  }
  // Given back, it still works for its owner.
  CHECK(encode(own) == expected);
}

TEST_CASE("vulkan context: a handle that is missing is an error") {
  const auto own = test::open_context();
  if (own == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const BorrowedDevice whole = test::lend(*own);
  BorrowedDevice lent[4] = {whole, whole, whole, whole};
  lent[0].instance = VK_NULL_HANDLE;
  lent[1].physical_device = VK_NULL_HANDLE;
  lent[2].device = VK_NULL_HANDLE;
  lent[3].queue = VK_NULL_HANDLE;
  for (const BorrowedDevice& each : lent) {
    CHECK(Context::borrow(each).error().code == Errc::invalid_argument);
  }
}

TEST_CASE("vulkan context: a driver that lacks a function is an error that names it") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  BorrowedDevice lent = test::lend(*driver.context());
  lent.get_instance_proc = &test::find_instance_function;
  driver.faults().absent = "vkCmdDispatch";
  const auto context = Context::borrow(lent);
  REQUIRE_FALSE(context);
  CHECK(context.error().code == Errc::device_absent);
  CHECK(context.error().message.find("vkCmdDispatch") != std::string::npos);
  // What only some drivers have may be missing.
  driver.faults().absent = "vkGetMemoryHostPointerPropertiesEXT";
  CHECK(Context::borrow(lent));
}

VkPhysicalDeviceMemoryProperties make_memory(const std::vector<VkMemoryPropertyFlags>& types) {
  VkPhysicalDeviceMemoryProperties memory = {};
  for (const VkMemoryPropertyFlags flags : types) {
    memory.memoryTypes[memory.memoryTypeCount++] = {flags, 0};
  }
  memory.memoryHeapCount = 1;
  memory.memoryHeaps[0] = {std::uint64_t{1} << 30U, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
  return memory;
}

TEST_CASE("vulkan context: memory is of the best type there is, and pages stay on the device") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  constexpr VkMemoryPropertyFlags kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
  constexpr VkMemoryPropertyFlags kVisible = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
  constexpr VkMemoryPropertyFlags kCoherent = VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  constexpr VkMemoryPropertyFlags kCached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  constexpr VkMemoryPropertyFlags kUncached =
      VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD;
  driver.faults().memory = make_memory({
      0,
      kLocal,
      kVisible | kCoherent,
      kVisible | kCached,
      kVisible | kCoherent | kCached,
      kLocal | kVisible | kCoherent,
      kLocal | kUncached,
      kLocal | VK_MEMORY_PROPERTY_PROTECTED_BIT,
      kLocal | VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT,
  });
  using Types = std::vector<std::uint32_t>;
  driver.faults().type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
  driver.borrow();
  CHECK(driver.context()->memory_types(MemoryKind::device, ~0U) == Types{1, 5});
  CHECK(driver.context()->memory_types(MemoryKind::device, 0b10001) == Types{0, 4});
  CHECK(driver.context()->memory_types(MemoryKind::upload, ~0U) == Types{2, 4, 5});
  CHECK(driver.context()->memory_types(MemoryKind::download, ~0U) == Types{4, 2, 5});
  CHECK(driver.context()->memory_types(MemoryKind::upload, 0b1011).empty());
  // All memory of an integrated device is the machine's.
  driver.faults().type = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
  driver.borrow();
  CHECK(driver.context()->memory_types(MemoryKind::device, ~0U) == Types{1, 5, 0, 2, 3, 4});
}

}  // namespace
}  // namespace kvault::vulkan
