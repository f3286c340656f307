#include <doctest/doctest.h>

#include <string>

#include "kvault/kvault_vulkan.h"

#ifdef KVAULT_SDK_HAS_VULKAN

#include <algorithm>
#include <chrono>
#include <limits>
#include <thread>

#include "kvault/kvault.hpp"
#include "tests/support/skip.hpp"
#include "tests/unit/sdk/lent_cache.hpp"

// Caches on a device that an engine lends, with rows and results in the engine's buffers.

namespace kvault::sdk {
namespace {

using test::Engine;
using test::EngineBuffer;
using test::OwnedCache;
using test::Step;
using test::StepBuffers;

/// The call succeeds; a failure says what was wrong.
#define CHECK_OK(call)                \
  do {                                \
    kvault_error error{};             \
    const kvault_status s = (call);   \
    INFO(std::string(error.message)); \
    CHECK(s == KVAULT_OK);            \
  } while (false)

/// The same step by way of host memory and by way of buffers, each to a cache of its own.
void check_same(const Engine& engine, kvault_cache* host, kvault_cache* lent, Step step,
                bool is_prefill) {
  StepBuffers buffers(engine, step);
  const kvault_rows k = step.keys();
  const kvault_rows v = step.values();
  const kvault_attend_options on_host = step.host_options();
  const kvault_vulkan_rows keys = buffers.keys();
  const kvault_vulkan_rows values = buffers.values();
  const kvault_attend_options options = step.options();
  const kvault_vulkan_attend_buffers places = buffers.attend();
  if (is_prefill) {
    CHECK_OK(kvault_cache_append_attend(host, 0, &k, &v, &on_host, &error));
    CHECK_OK(
        kvault_vulkan_append_attend(lent, 0, &keys, &values, &options, &places, nullptr, &error));
  } else {
    CHECK_OK(kvault_cache_append(host, 0, &k, &v, &error));
    CHECK_OK(kvault_cache_attend(host, 0, &on_host, &error));
    CHECK_OK(kvault_vulkan_append(lent, 0, &keys, &values, nullptr, &error));
    CHECK_OK(kvault_vulkan_attend(lent, 0, &options, &places, nullptr, &error));
  }
  CHECK(step.out != std::vector<float>(step.out.size()));
  CHECK(buffers.out() == step.out);
  CHECK(buffers.lse() == step.lse);
  // Nothing is written beside them.
  CHECK(buffers.output().front() == 0);
  CHECK(buffers.output().back() == 0);
}

std::vector<float> read_rows(kvault_cache* cache, kvault_side side, std::uint32_t dim) {
  const std::uint64_t n = kvault_cache_n_token(cache);
  std::vector<float> rows(n * test::kKvHeads * dim);
  CHECK_OK(kvault_cache_read_rows(cache, 0, side, 0, n, KVAULT_F32, rows.data(),
                                  rows.size() * sizeof(float), &error));
  return rows;
}

}  // namespace

TEST_CASE("kvault_vulkan.h: buffers give the bits that host memory gives") {
  const auto engine = Engine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const OwnedCache host = test::make_lent(*engine);
  const OwnedCache lent = test::make_lent(*engine);
  check_same(*engine, host.get(), lent.get(), Step(600, 1), true);
  for (std::uint64_t seed = 10; seed < 40; seed += 10) {
    check_same(*engine, host.get(), lent.get(), Step(1, seed), false);
  }
  check_same(*engine, host.get(), lent.get(), Step(100, 50), false);
  CHECK(kvault_cache_n_token(lent.get()) == 703);
  CHECK(read_rows(host.get(), KVAULT_KEY, 64) == read_rows(lent.get(), KVAULT_KEY, 64));
  CHECK(read_rows(host.get(), KVAULT_VALUE, 32) == read_rows(lent.get(), KVAULT_VALUE, 32));
  kvault_cache* fork = nullptr;
  CHECK_OK(kvault_cache_fork(lent.get(), 650, &fork, nullptr, &error));
  CHECK_OK(kvault_cache_rollback(host.get(), 650, nullptr, &error));
  const OwnedCache owned_fork(fork);
  check_same(*engine, host.get(), fork, Step(2, 60), false);
}

TEST_CASE("kvault_vulkan.h: rows stand apart in a buffer, heads first") {
  const auto engine = Engine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const OwnedCache cache = test::make_lent(*engine);
  constexpr std::uint32_t kRoom = 9;  // tokens of a head
  const Step step(3, 1);
  EngineBuffer k(*engine, VK_BUFFER_USAGE_TRANSFER_SRC_BIT, 2 * kRoom * 64);
  EngineBuffer v(*engine, VK_BUFFER_USAGE_TRANSFER_SRC_BIT, 3 * 2 * 40);
  for (std::size_t i = 0; i < 6; ++i) {
    const std::size_t token = i / 2;
    const std::size_t head = i % 2;
    std::copy_n(&step.k[i * 64], 64, &k.values()[(head * kRoom + 4 + token) * 64]);
    std::copy_n(&step.v[i * 32], 32, &v.values()[i * 40 + 8]);
  }
  const kvault_vulkan_rows keys = {k.at(4 * 64), 3, 0, 64 * 4, kRoom * 64 * 4};
  kvault_vulkan_rows values = {v.at(8), 3, 0, 80 * 4, 40 * 4};
  CHECK_OK(kvault_vulkan_append(cache.get(), 0, &keys, &values, nullptr, &error));
  CHECK(read_rows(cache.get(), KVAULT_KEY, 64) == step.k);
  CHECK(read_rows(cache.get(), KVAULT_VALUE, 32) == step.v);
  // The last row may end where the buffer does, and not a byte later.
  values.buffer.offset_bytes += 4;
  CHECK(kvault_vulkan_append(cache.get(), 0, &keys, &values, nullptr, nullptr) ==
        KVAULT_OUT_OF_RANGE);
}

TEST_CASE("kvault_vulkan.h: more than a piece goes through in order") {
  const auto engine = Engine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const OwnedCache cache = test::make_lent(*engine);
  const Step step(20000, 1);  // 10 MB of keys
  const StepBuffers buffers(*engine, step);
  const kvault_vulkan_rows keys = buffers.keys();
  const kvault_vulkan_rows values = buffers.values();
  const OwnedCache host = test::make_lent(*engine);
  const kvault_rows k = step.keys();
  const kvault_rows v = step.values();
  CHECK_OK(kvault_vulkan_append(cache.get(), 0, &keys, &values, nullptr, &error));
  CHECK_OK(kvault_cache_append(host.get(), 0, &k, &v, &error));
  CHECK(read_rows(cache.get(), KVAULT_KEY, 64) == read_rows(host.get(), KVAULT_KEY, 64));
}

TEST_CASE("kvault_vulkan.h: the queue is locked around every submission, whoever's thread it is") {
  const auto engine = Engine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const auto chat = [&](std::uint64_t seed) {
    const OwnedCache cache = test::make_lent(*engine);
    for (std::uint64_t i = 0; i < 8; ++i) {
      const Step step(5, seed + i);
      StepBuffers buffers(*engine, step);
      const kvault_vulkan_rows keys = buffers.keys();
      const kvault_vulkan_rows values = buffers.values();
      const kvault_attend_options options = step.options();
      const kvault_vulkan_attend_buffers places = buffers.attend();
      CHECK_OK(kvault_vulkan_append_attend(cache.get(), 0, &keys, &values, &options, &places,
                                           nullptr, &error));
    }
  };
  std::thread other([&] { chat(100); });
  chat(200);
  other.join();
  CHECK(engine->n_submit() >= 2 * 8 * 3);
  CHECK(engine->n_bare_submit() == 0);
  CHECK(engine->n_lock() == engine->n_submit());
  CHECK(engine->n_unlock() == engine->n_lock());
}

TEST_CASE("kvault_vulkan.h: rows that are still to come are waited for") {
  const auto engine = Engine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const vulkan::Api& api = engine->api();
  const auto signal = reinterpret_cast<PFN_vkSignalSemaphore>(
      api.vkGetDeviceProcAddr(engine->device(), "vkSignalSemaphore"));
  VkSemaphoreTypeCreateInfo type = {};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  info.pNext = &type;
  VkSemaphore semaphore = VK_NULL_HANDLE;
  REQUIRE(api.vkCreateSemaphore(engine->device(), &info, nullptr, &semaphore) == VK_SUCCESS);
  {
    const OwnedCache cache = test::make_lent(*engine);
    const Step step(4, 1);
    StepBuffers buffers(*engine, step);
    const std::vector<float> rows(buffers.input().begin(), buffers.input().end());
    std::fill(buffers.input().begin(), buffers.input().end(),
              std::numeric_limits<float>::quiet_NaN());
    std::thread engine_thread([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      std::copy(rows.begin(), rows.end(), buffers.input().begin());
      VkSemaphoreSignalInfo done = {};
      done.sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO;
      done.semaphore = semaphore;
      done.value = 3;
      CHECK(signal(engine->device(), &done) == VK_SUCCESS);
    });
    const kvault_vulkan_rows keys = buffers.keys();
    const kvault_vulkan_rows values = buffers.values();
    const kvault_vulkan_wait wait = {reinterpret_cast<std::uint64_t>(semaphore), 3};
    CHECK_OK(kvault_vulkan_append(cache.get(), 0, &keys, &values, &wait, &error));
    engine_thread.join();
    CHECK(read_rows(cache.get(), KVAULT_KEY, 64) == step.k);
  }
  api.vkDestroySemaphore(engine->device(), semaphore, nullptr);
}

TEST_CASE("kvault.hpp: a device that is lent is the cache's, without a lock or a loader too") {
  const auto engine = Engine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  kvault_vulkan_device lent = engine->lend();
  lent.lock_queue = nullptr;
  lent.unlock_queue = nullptr;
  lent.get_instance_proc_addr = nullptr;
  auto cache = Cache::create(
      {.layers = {&test::kLentLayer, 1}, .row_type = KVAULT_F32, .vulkan_device = &lent});
  REQUIRE(cache.is_ok());
  const Step step(4, 1);
  const StepBuffers buffers(*engine, step);
  const kvault_vulkan_rows keys = buffers.keys();
  const kvault_vulkan_rows values = buffers.values();
  CHECK_OK(kvault_vulkan_append(cache.value()->handle(), 0, &keys, &values, nullptr, &error));
  CHECK(cache.value()->n_token() == 4);
  CHECK(engine->n_lock() == 0);
}

}  // namespace kvault::sdk

#else

TEST_CASE("short: kvault_vulkan.h: a build without the backend says so") {
  const kvault_layer layer = {KVAULT_FULL_ATTENTION, 2, 1, 32, 32, 0, KVAULT_TQ4, KVAULT_TQ4};
  const kvault_vulkan_device lent = KVAULT_VULKAN_DEVICE_INIT;
  kvault_cache_options options = KVAULT_CACHE_OPTIONS_INIT;
  options.n_layer = 1;
  options.layers = &layer;
  options.vulkan_device = &lent;
  kvault_cache* cache = nullptr;
  kvault_error error{};
  CHECK(kvault_cache_create(&options, &cache, &error) == KVAULT_UNSUPPORTED);
  CHECK(cache == nullptr);
  CHECK(std::string(error.message).find("no vulkan backend") != std::string::npos);
  options.vulkan_device = nullptr;
  REQUIRE(kvault_cache_create(&options, &cache, &error) == KVAULT_OK);
  const kvault_vulkan_rows rows{};
  const kvault_attend_options attend = KVAULT_ATTEND_OPTIONS_INIT;
  const kvault_vulkan_attend_buffers buffers{};
  CHECK(kvault_vulkan_append(cache, 0, &rows, &rows, nullptr, &error) == KVAULT_UNSUPPORTED);
  CHECK(kvault_vulkan_attend(cache, 0, &attend, &buffers, nullptr, &error) == KVAULT_UNSUPPORTED);
  CHECK(kvault_vulkan_append_attend(cache, 0, &rows, &rows, &attend, &buffers, nullptr, &error) ==
        KVAULT_UNSUPPORTED);
  CHECK(error.message[0] != '\0');
  kvault_cache_destroy(cache);
}

#endif
