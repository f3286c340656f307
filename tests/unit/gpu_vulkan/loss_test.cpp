// What a device answers when its driver does not do as it is told.

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <string>

#include "tests/support/skip.hpp"
#include "tests/unit/gpu_vulkan/device_case.hpp"
#include "tests/unit/gpu_vulkan/faulty_driver.hpp"

namespace kvault::vulkan {
namespace {

constexpr std::uint32_t kForEver = 1000000;

/// Every verb fails at once, and the driver hears nothing of it.
void check_lost(test::FaultyDriver& driver, Device& device, test::DeviceCase& verbs) {
  driver.faults().submit.n_call = 0;
  driver.faults().wait.n_call = 0;
  for (const std::string_view verb : test::DeviceCase::kVerbs) {
    CAPTURE(std::string(verb));
    const Result<Ticket> ticket = verbs.start(verb);
    REQUIRE_FALSE(ticket);
    CHECK(ticket.error().code == Errc::device_lost);
  }
  CHECK(device.allocate({.size_bytes = 100}).error().code == Errc::device_lost);
  CHECK(device.wait(Ticket{0}).error().code == Errc::device_lost);
  CHECK(device.wait(Ticket{1}).error().code == Errc::device_lost);
  CHECK(driver.faults().submit.n_call == 0);
  CHECK(driver.faults().wait.n_call == 0);
}

TEST_CASE("vulkan loss: a device lost when work is handed in is lost for every verb") {
  for (const std::string_view verb : test::DeviceCase::kVerbs) {
    test::FaultyDriver driver;
    if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
    CAPTURE(std::string(verb));
    const std::unique_ptr<Device> device = test::open_device(driver.context());
    test::DeviceCase verbs(*device);
    REQUIRE(verbs.run("upload"));
    driver.faults().submit = {.result = VK_ERROR_DEVICE_LOST, .n_fail = kForEver};
    const Result<> result = verbs.run(verb);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == Errc::device_lost);
    check_lost(driver, *device, verbs);
  }
}

TEST_CASE("vulkan loss: a device lost while it is waited for is lost for every verb") {
  for (const std::string_view verb : test::DeviceCase::kVerbs) {
    test::FaultyDriver driver;
    if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
    CAPTURE(std::string(verb));
    const std::unique_ptr<Device> device = test::open_device(driver.context());
    test::DeviceCase verbs(*device);
    std::fill(verbs.bytes().begin(), verbs.bytes().end(), std::byte{0x5A});
    verbs.out().assign(verbs.out().size(), 7.0F);
    driver.faults().wait = {.result = VK_ERROR_DEVICE_LOST, .n_fail = kForEver};
    const Result<> result = verbs.run(verb);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == Errc::device_lost);
    check_lost(driver, *device, verbs);
    // Nothing arrives where the caller may have put something else.
    const auto is_untouched = [](std::byte byte) { return byte == std::byte{0x5A}; };
    CHECK(std::all_of(verbs.bytes().begin(), verbs.bytes().end(), is_untouched));
    CHECK(verbs.out()[0] == 7.0F);
  }
}

TEST_CASE("vulkan loss: work in flight when the device is lost is forgotten, and so are buffers") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  std::unique_ptr<Device> device = test::open_device(driver.context());
  test::DeviceCase verbs(*device);
  std::unique_ptr<Buffer> buffer = test::allocate(*device, 40U << 20U);
  test::Bytes target(40U << 20U, std::byte{0x5A});
  driver.faults().wait = {.result = VK_ERROR_DEVICE_LOST, .n_fail = kForEver};
  // The first pieces are under way when the wait for one of them fails.
  const Result<Ticket> ticket = device->download(*buffer, 0, target);
  REQUIRE_FALSE(ticket);
  CHECK(ticket.error().code == Errc::device_lost);
  CHECK(std::count(target.begin(), target.end(), std::byte{0x5A}) == 40 << 20);
  check_lost(driver, *device, verbs);
  // A buffer may outlive its device.
  device.reset();
  buffer.reset();
}

TEST_CASE("vulkan loss: too little memory to hand work in is got over by waiting") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  for (const VkResult result : {VK_ERROR_OUT_OF_HOST_MEMORY, VK_ERROR_OUT_OF_DEVICE_MEMORY}) {
    const std::unique_ptr<Device> device = test::open_device(driver.context());
    test::DeviceCase verbs(*device);
    driver.faults().submit = {.result = result, .n_fail = 1};
    REQUIRE(verbs.run("download"));
    CHECK(driver.faults().submit.n_fail == 0);
    CHECK(verbs.bytes() == verbs.rows());
  }
}

TEST_CASE("vulkan loss: work that cannot be handed in is never half done in silence") {
  for (const VkResult result : {VK_ERROR_OUT_OF_HOST_MEMORY, VK_ERROR_OUT_OF_DEVICE_MEMORY}) {
    for (test::Fault test::Faults::*const place : {&test::Faults::submit, &test::Faults::end}) {
      test::FaultyDriver driver;
      if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
      const std::unique_ptr<Device> device = test::open_device(driver.context());
      test::DeviceCase verbs(*device);
      std::fill(verbs.bytes().begin(), verbs.bytes().end(), std::byte{0x5A});
      driver.faults().*place = {.result = result, .n_fail = 2};
      // The upload's ticket was given out, its copy is lost with the batch.
      const Result<> failed = verbs.run("download");
      REQUIRE_FALSE(failed);
      CHECK(failed.error().code == Errc::device_lost);
      CHECK(failed.error().message.find("recorded work was lost") != std::string::npos);
      check_lost(driver, *device, verbs);
      CHECK(verbs.bytes()[0] == std::byte{0x5A});
    }
  }
}

TEST_CASE("vulkan loss: out of memory is an error of the call, and the device stays usable") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  constexpr std::uint64_t kSizeBytes = std::uint64_t{70} << 20U;
  const std::unique_ptr<Device> device = test::open_device(driver.context());
  test::DeviceCase verbs(*device);
  driver.faults().memory_left_bytes = 0;
  const auto refused = device->allocate({.size_bytes = kSizeBytes});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == Errc::out_of_memory);
  // No room for what comes back either, at first.
  const Result<> failed = verbs.run("reconstruct");
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code == Errc::out_of_memory);
  driver.faults().memory_left_bytes = std::uint64_t{1} << 40U;
  CHECK(test::download(*device, *test::allocate(*device, kSizeBytes)) == test::Bytes(kSizeBytes));
  for (const std::string_view verb : test::DeviceCase::kVerbs) CHECK(verbs.run(verb));
  REQUIRE(verbs.run("download"));
  CHECK(verbs.bytes() == verbs.rows());
}

TEST_CASE("vulkan loss: memory of a buffer that was given up is there for the next one") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  const std::unique_ptr<Device> device = test::open_device(driver.context());
  std::unique_ptr<Buffer> buffer = test::allocate(*device, 60U << 20U);
  REQUIRE(device->upload(*buffer, 0, test::random_bytes(1000)));
  driver.faults().memory_left_bytes = 0;
  CHECK_FALSE(device->allocate({.size_bytes = 60U << 20U}));
  // Used by what was recorded since.
  REQUIRE(device->upload(*buffer, 0, test::random_bytes(1000)));
  buffer.reset();
  CHECK(device->allocate({.size_bytes = 60U << 20U}));
}

}  // namespace
}  // namespace kvault::vulkan
