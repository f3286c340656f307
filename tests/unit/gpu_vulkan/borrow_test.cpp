// What is optional on a device that an engine lends: off unless the engine says that it is enabled.

#include <doctest/doctest.h>

#include "tests/support/skip.hpp"
#include "tests/unit/gpu_vulkan/device_case.hpp"
#include "tests/unit/gpu_vulkan/faulty_driver.hpp"

namespace kvault::vulkan {
namespace {

TEST_CASE("vulkan borrow: nothing optional is used that the engine does not name") {
  const auto own = test::open_context();
  if (own == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  BorrowedDevice lent = test::lend(*own);
  const auto plain = Context::borrow(lent);
  REQUIRE(plain);
  CHECK_FALSE((*plain)->has_dot_product());
  CHECK_FALSE((*plain)->imports_host_memory());
  // Of what is enabled it is independent: it is asked of the physical device.
  CHECK(((*plain)->memory_budget_bytes() > 0) == own->adapter().has_memory_budget);
  CHECK_FALSE(AttendPath::of(**plain).uses_dot_product);
  // All that the adapter has is enabled on a device of our own.
  lent.has_dot_product = own->adapter().has_dot_product;
  lent.imports_host_memory = own->adapter().import_alignment_bytes > 0;
  const auto named = Context::borrow(lent);
  REQUIRE(named);
  CHECK((*named)->has_dot_product() == own->has_dot_product());
  CHECK((*named)->imports_host_memory() == own->imports_host_memory());
  const std::unique_ptr<Device> device = test::open_device(*named);
  test::DeviceCase verbs(*device);
  CHECK(verbs.run("attend"));
}

TEST_CASE("vulkan borrow: what the device cannot have enabled is refused") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  BorrowedDevice lent = test::lend(*driver.context());
  lent.get_instance_proc = &test::find_instance_function;
  driver.faults().absent = "vkGetMemoryHostPointerPropertiesEXT";
  CHECK(Context::borrow(lent));
  lent.imports_host_memory = true;
  const auto importing = Context::borrow(lent);
  REQUIRE_FALSE(importing);
  CHECK(importing.error().code == Errc::invalid_argument);
  CHECK(importing.error().message.find("VK_EXT_external_memory_host") != std::string::npos);
  if (driver.context()->adapter().has_dot_product) return;
  lent.imports_host_memory = false;
  lent.has_dot_product = true;
  CHECK(Context::borrow(lent).error().code == Errc::invalid_argument);
}

TEST_CASE("vulkan borrow: the lock is held for every try to submit, and not while waiting") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  struct Count {
    int n_lock = 0;
    int depth = 0;
  } count;
  BorrowedDevice lent = test::lend(*driver.context());
  lent.get_instance_proc = &test::find_instance_function;
  lent.queue_lock = {[](void* user) {
                       ++static_cast<Count*>(user)->n_lock;
                       CHECK(++static_cast<Count*>(user)->depth == 1);
                     },
                     [](void* user) { CHECK(--static_cast<Count*>(user)->depth == 0); }, &count};
  const auto context = Context::borrow(lent);
  REQUIRE(context);
  const std::unique_ptr<Device> device = test::open_device(*context);
  test::DeviceCase verbs(*device);
  REQUIRE(verbs.run("download"));
  const int n_before = count.n_lock;
  CHECK(n_before > 0);
  driver.faults().submit = {.result = VK_ERROR_OUT_OF_DEVICE_MEMORY, .n_fail = 1};
  REQUIRE(verbs.run("download"));
  CHECK(driver.faults().submit.n_call == 2);
  CHECK(count.n_lock == n_before + 2);
}

}  // namespace
}  // namespace kvault::vulkan
