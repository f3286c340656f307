#include <doctest/doctest.h>

#include <memory>
#include <utility>
#include <vector>

#include "core/cache/cache.hpp"
#include "gpu_vulkan/vulkan_device.hpp"
#include "sdk/src/session.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/support/chat.hpp"
#include "tests/support/skip.hpp"
#include "tests/unit/gpu_vulkan/faulty_driver.hpp"

// A GPU that is lost in the middle of a chat costs what was not saved, and nothing else.

namespace kvault {
namespace {

using test::Chat;

constexpr std::uint64_t kSaved = 700;
constexpr std::uint64_t kReached = 900;

Result<std::unique_ptr<StoredCache>> open_chat(Client& client, Device& device, const Chat& chat) {
  SessionOptions options;
  options.description = {"chat", {{"weights", "abc"}}, chat.options.shape};
  options.cache = chat.options;
  options.create = true;
  return StoredCache::open(client, device, std::move(options));
}

/// The chat from the first token on, without a stop, on the cpu: what queries [first, last) give.
std::vector<float> expected_rows(Device& cpu, const Chat& chat, std::uint64_t first,
                                 std::uint64_t last) {
  Cache cache = test::make_cache(cpu, chat);
  test::feed(cache, chat, 0, first, 100);
  return test::feed(cache, chat, first, last, 100);
}

TEST_CASE("a device that is lost in mid-turn leaves the session as it was saved") {
  test::FaultyDriver driver;
  if (driver.context() == nullptr) KVAULT_TEST_SKIP("no Vulkan device");
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq4, 32), 1000, 91);
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  {
    auto device = vulkan::open_device(driver.context());
    REQUIRE(device);
    auto stored = open_chat(client, **device, chat);
    REQUIRE(stored);
    Cache& cache = (*stored)->cache();
    test::feed(cache, chat, 0, kSaved, 100);
    REQUIRE((*stored)->save(std::vector<std::uint32_t>(kSaved, 7)));

    driver.faults().wait = {.result = VK_ERROR_DEVICE_LOST, .n_fail = 1, .n_call = 0};
    for (int i = 0; i < 2; ++i) {
      std::vector<float> out;
      const AttendRequest request = chat.request(kSaved, 100, out);
      const auto lost = cache.append_attend(LayerIndex(0), chat.key_rows(kSaved, 100),
                                            chat.value_rows(kSaved, 100), request);
      REQUIRE(!lost);
      CHECK(lost.error().code == Errc::device_lost);
    }
  }
  const auto cpu = test::open_cpu();
  auto stored = open_chat(client, *cpu, chat);
  if (!stored) FAIL(stored.error().message);
  Cache& cache = (*stored)->cache();
  REQUIRE(cache.n_token().raw == kSaved);
  const std::vector<float> out = test::feed(cache, chat, kSaved, kReached, 100);
  const std::vector<float> expected = expected_rows(*cpu, chat, kSaved, kReached);
  CHECK(test::worst_row_distance(out, expected, chat.spec().value_head_dim) < 2e-3);
}

}  // namespace
}  // namespace kvault
