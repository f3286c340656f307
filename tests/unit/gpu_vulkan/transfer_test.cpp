// Uploads and downloads of a device.

#include <doctest/doctest.h>

#include <algorithm>
#include <span>

#include "tests/support/skip.hpp"
#include "tests/unit/gpu_vulkan/device_case.hpp"
#include "tests/unit/gpu_vulkan/faulty_driver.hpp"

namespace kvault::vulkan {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

TEST_CASE("vulkan transfer: the last upload to a byte is what stands there") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const std::unique_ptr<Device> device = test::open_device(context);
  const std::unique_ptr<Buffer> buffers[] = {test::allocate(*device, 4096),
                                             test::allocate(*device, 4096)};
  test::Bytes model[] = {test::Bytes(4096), test::Bytes(4096)};
  test::Random random(11);
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 100; ++i) {
      const std::uint32_t which = random.integer(0, 1);
      const std::uint32_t begin = random.integer(0, 4095);
      const std::uint32_t n = random.integer(0, std::min(4096 - begin, 600U));
      const test::Bytes bytes = test::random_bytes(n, random.next());
      std::copy(bytes.begin(), bytes.end(), model[which].begin() + begin);
      REQUIRE(device->upload(*buffers[which], begin, bytes));
    }
    for (const int which : {0, 1}) {
      CHECK(test::download(*device, *buffers[which]) == model[which]);
    }
  }
}

TEST_CASE("vulkan transfer: uploads wait for one another only where they overlap") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  const std::unique_ptr<Device> device = test::open_device(driver.context());
  const std::unique_ptr<Buffer> buffers[] = {test::allocate(*device, 4096),
                                             test::allocate(*device, 4096)};
  const test::Bytes bytes = test::random_bytes(128);
  const auto upload = [&](int which, std::uint64_t offset_bytes, std::size_t n = 128) {
    const std::uint32_t before = driver.faults().n_barrier;
    REQUIRE(device->upload(*buffers[which], offset_bytes, std::span(bytes).first(n)));
    return driver.faults().n_barrier - before;
  };
  CHECK(upload(0, 0) == 0);  // allocate() left one
  CHECK(upload(0, 128) == 0);
  CHECK(upload(1, 0) == 0);
  CHECK(upload(1, 4096, 0) == 0);
  CHECK(upload(0, 256, 100) == 0);
  CHECK(upload(0, 355, 1) == 1);
  CHECK(upload(0, 0) == 0);  // the one just now stands between
  CHECK(upload(0, 0) == 1);
  CHECK(upload(0, 127) == 1);
  CHECK(upload(0, 300) == 0);
  // What is read in between has to be read first.
  test::Bytes back(10);
  const Result<Ticket> ticket = device->download(*buffers[0], 1000, back);
  REQUIRE(ticket);
  REQUIRE(device->wait(*ticket));
  CHECK(upload(0, 600) == 1);
  CHECK(upload(0, 800) == 0);
  // And what is not known any more counts as overlapping.
  std::uint32_t n_barrier = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) n_barrier += upload(1, 4 * i, 4);
  CHECK(n_barrier > 0);
  CHECK(n_barrier < 20);
}

TEST_CASE("vulkan transfer: an upload after a verb waits for it, one before is seen by it") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const std::unique_ptr<Device> device = test::open_device(context);
  test::DeviceCase verbs(*device);
  const test::Bytes rows = verbs.rows();
  for (int round = 0; round < 20; ++round) {
    REQUIRE(verbs.start("upload"));
    const Result<Ticket> ticket = verbs.start("reconstruct");
    REQUIRE(ticket);
    REQUIRE(verbs.start("upload"));
    REQUIRE(device->wait(*ticket));
    CHECK(verbs.bytes() == rows);
  }
}

TEST_CASE("vulkan transfer: many pieces go both ways whole, from odd places too") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const std::unique_ptr<Device> device = test::open_device(context);
  for (const std::uint64_t n : {8 * kMiB, 8 * kMiB + 1, 43 * kMiB - 5}) {
    const std::unique_ptr<Buffer> buffer = test::allocate(*device, n + 7);
    const test::Bytes bytes = test::random_bytes(n, n);
    REQUIRE(device->upload(*buffer, 3, bytes));
    test::Bytes back(n);
    const Result<Ticket> ticket = device->download(*buffer, 3, back);
    REQUIRE(ticket);
    REQUIRE(device->wait(*ticket));
    CHECK(back == bytes);
  }
}

TEST_CASE("vulkan transfer: what is staged at once is bounded, however the bytes come in") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  const std::unique_ptr<Device> device = test::open_device(driver.context());
  const std::unique_ptr<Buffer> buffer = test::allocate(*device, 64 * kMiB);
  driver.faults().memory_left_bytes = 128 * kMiB;
  const test::Bytes piece = test::random_bytes(300000);
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(device->upload(*buffer, static_cast<std::uint64_t>(i % 200) * piece.size(), piece));
  }
  test::Bytes back(piece.size());
  const Result<Ticket> ticket = device->download(*buffer, 199 * piece.size(), back);
  REQUIRE(ticket);
  REQUIRE(device->wait(*ticket));
  CHECK(back == piece);
}

TEST_CASE("vulkan transfer: a download that fails leaves nothing that arrives later") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  const std::unique_ptr<Device> device = test::open_device(driver.context());
  const std::unique_ptr<Buffer> buffer = test::allocate(*device, 40 * kMiB);
  // Room for the first two pieces.
  driver.faults().memory_left_bytes = 17 * kMiB;
  test::Bytes target(40 * kMiB);
  const Result<Ticket> ticket = device->download(*buffer, 0, target);
  REQUIRE_FALSE(ticket);
  CHECK(ticket.error().code == Errc::out_of_memory);
  // The call is over: the memory is the caller's again.
  std::fill(target.begin(), target.end(), std::byte{0x5A});
  driver.faults().memory_left_bytes = 1000 * kMiB;
  const test::Bytes small = test::random_bytes(100);
  const Result<Ticket> later = device->upload(*buffer, 0, small);
  REQUIRE(later);
  REQUIRE(device->wait(*later));
  CHECK(std::count(target.begin(), target.end(), std::byte{0x5A}) == 40 * kMiB);
  const test::Bytes whole = test::download(*device, *buffer);
  CHECK(std::equal(small.begin(), small.end(), whole.begin()));
}

}  // namespace
}  // namespace kvault::vulkan
