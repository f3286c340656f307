#include "gpu_cuda/cuda_device.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <vector>

#include "tests/support/attend_case.hpp"
#include "tests/support/attend_rows.hpp"
#include "tests/support/random.hpp"
#include "tests/support/skip.hpp"

namespace kvault::cuda {
namespace {

std::unique_ptr<Device> open_or_null(std::string_view adapter = {}) {
  Result<std::unique_ptr<Device>> device = open_device({.adapter = adapter});
  if (!device) REQUIRE(device.error().code == Errc::device_absent);
  return device ? std::move(*device) : nullptr;
}

std::vector<std::byte> random_bytes(std::size_t n, std::uint64_t seed) {
  test::Random random(seed);
  std::vector<std::byte> bytes(n);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  return bytes;
}

TEST_CASE("cuda: what does not exist is refused by name") {
  if (open_or_null() == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  const auto absent = open_device({.adapter = "no such GPU"});
  REQUIRE(!absent);
  CHECK(absent.error().code == Errc::device_absent);
  CHECK(absent.error().message.find("no device \"no such GPU\"; there is: 0 ") !=
        std::string::npos);
  const auto listed = list_adapters();
  REQUIRE(listed);
  CHECK(open_or_null(listed->front().uuid) != nullptr);
}

TEST_CASE("cuda: a buffer is zeros, then what was uploaded last; beyond all staging") {
  const std::unique_ptr<Device> device = open_or_null();
  if (device == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  // Larger than all chunks of pinned memory together.
  const std::size_t size = (std::size_t{40} << 20U) + 13;
  const auto buffer = device->allocate({.size_bytes = size});
  REQUIRE(buffer);
  std::vector<std::byte> seen(size, std::byte{1});
  const auto first = device->download(**buffer, 0, seen);
  REQUIRE(first);
  REQUIRE(device->wait(*first));
  CHECK(seen == std::vector<std::byte>(size));
  std::vector<std::byte> model = random_bytes(size, 1);
  REQUIRE(device->upload(**buffer, 0, model));
  const std::vector<std::byte> patch = random_bytes(5000, 2);
  REQUIRE(device->upload(**buffer, 777, patch));
  std::copy(patch.begin(), patch.end(), model.begin() + 777);
  const auto second = device->download(**buffer, 0, seen);
  REQUIRE(second);
  REQUIRE(device->wait(*second));
  CHECK(seen == model);
}

TEST_CASE("cuda: what the copy queue brings in is there for whatever is handed in next") {
  const std::unique_ptr<Device> device = open_or_null();
  if (device == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  const auto fill = [&](std::span<const std::byte> bytes) {
    Result<std::unique_ptr<Buffer>> buffer =
        device->allocate({.size_bytes = bytes.size(), .is_zeroed = false});
    REQUIRE(buffer);
    REQUIRE(device->upload(**buffer, 0, bytes));
    return std::move(*buffer);
  };
  const auto read = [&](const Buffer& buffer) {
    std::vector<std::byte> seen(buffer.size_bytes());
    const Result<Ticket> ticket = device->download(buffer, 0, seen);
    REQUIRE(ticket);
    REQUIRE(device->wait(*ticket));
    return seen;
  };
  std::vector<std::byte> model = random_bytes((std::size_t{40} << 20U) + 13, 3);
  const std::vector<std::byte> small = random_bytes(100, 4);
  const std::unique_ptr<Buffer> large_buffer = fill(model);
  const std::unique_ptr<Buffer> small_buffer = fill(small);
  CHECK(read(*small_buffer) == small);
  CHECK(read(*large_buffer) == model);
  // An upload behind it comes behind it.
  const std::unique_ptr<Buffer> patched = fill(model);
  REQUIRE(device->upload(*patched, 777, small));
  std::copy(small.begin(), small.end(), model.begin() + 777);
  CHECK(read(*patched) == model);
  // Given up before it arrived, or before it was asked for.
  (void)fill(model);
  CHECK(device->allocate({.size_bytes = 4096, .is_zeroed = false}));
  const std::unique_ptr<Buffer> last = fill(small);
  CHECK(read(*last) == small);
}

TEST_CASE("cuda: memory that is not there is an error, and the device goes on") {
  const std::unique_ptr<Device> device = open_or_null();
  if (device == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  const auto buffer = device->allocate({.size_bytes = std::uint64_t{1} << 50U});
  REQUIRE(!buffer);
  CHECK(buffer.error().code == Errc::out_of_memory);
  CHECK(device->allocate({.size_bytes = 4096}));
}

TEST_CASE("cuda: GPUs without integer tensor cores attend what the oracle attends") {
  // Only the emulator can be told to be one.
  const std::unique_ptr<Device> first = open_or_null();
  if (first == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  if (!first->caps().is_emulated) KVAULT_TEST_SKIP("a GPU is what it is");
  REQUIRE(setenv("KVAULT_CUDA_EMULATED_MAJOR", "7", 1) == 0);
  const std::unique_ptr<Device> device = open_or_null();
  REQUIRE(unsetenv("KVAULT_CUDA_EMULATED_MAJOR") == 0);
  REQUIRE(device != nullptr);
  std::uint64_t seed = 1;
  for (const Scheme key : test::kSchemes) {
    for (const Scheme value : test::kSchemes) {
      CAPTURE(seed);
      test::Random random(seed++);
      test::AttendCase c = {.n_head = 4, .n_kv_head = 2, .key_head_dim = 96, .value_head_dim = 64};
      c.n_q = 3;
      c.n_token = 300;
      c.causal = true;
      c.softmax_scale = 0.1F;
      c.set_last_positions();
      fill_case(c, *device, random, test::Rows::normal, test::Rows::normal, test::Queries::normal,
                {BlockFormat::coded(key, true), BlockFormat::coded(value, true)});
      check_answer(*device, c, attend_by_oracle(c), attend_on(*device, c));
    }
  }
}

}  // namespace
}  // namespace kvault::cuda
