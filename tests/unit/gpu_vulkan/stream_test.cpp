#include "gpu_vulkan/stream.hpp"

#include <doctest/doctest.h>

#include <string>

#include "gpu_vulkan/runtime.hpp"
#include "tests/support/skip.hpp"
#include "tests/unit/gpu_vulkan/open_context.hpp"

namespace kvault::vulkan {
namespace {

std::unique_ptr<Stream> make_stream(const Context& context) {
  Result<std::unique_ptr<Stream>> stream = Stream::create(context);
  REQUIRE(stream);
  return std::move(*stream);
}

TEST_CASE("vulkan stream: a batch has the value it was recorded under, and an empty one none") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const std::unique_ptr<Stream> stream = make_stream(*context);
  CHECK(stream->open_value() == 1);
  REQUIRE(stream->submit());
  REQUIRE(stream->barrier());
  REQUIRE(stream->wait(1));
  CHECK(stream->open_value() == 1);
  CHECK_FALSE(stream->is_done(1));
  const Result<VkCommandBuffer> first = stream->commands();
  REQUIRE(first);
  CHECK(*stream->commands() == *first);
  REQUIRE(stream->submit());
  CHECK(stream->open_value() == 2);
  CHECK_FALSE(stream->is_done(1));
  // Waiting for the open batch hands it in.
  REQUIRE(stream->commands());
  REQUIRE(stream->wait(2));
  CHECK(stream->open_value() == 3);
  CHECK(stream->is_done(2));
  CHECK_FALSE(stream->is_done(3));
}

TEST_CASE("vulkan stream: actions run in order, once, when their batch is waited for") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  std::string ran;
  {
    const std::unique_ptr<Stream> stream = make_stream(*context);
    for (const char* const names : {"ab", "c", "de"}) {
      REQUIRE(stream->commands());
      for (const char* name = names; *name != '\0'; ++name) {
        stream->when_done([&ran, name = *name] { ran += name; });
      }
      REQUIRE(stream->submit());
    }
    CHECK(ran.empty());
    REQUIRE(stream->wait(2));
    CHECK(ran == "abc");
    REQUIRE(stream->wait(1));
    CHECK(ran == "abc");
    REQUIRE(stream->wait(3));
    CHECK(ran == "abcde");
    REQUIRE(stream->commands());
    stream->when_done([&ran] { ran += "never"; });
    REQUIRE(stream->submit());
    stream->drain();
  }
  // Whoever did not wait may be gone.
  CHECK(ran == "abcde");
}

TEST_CASE("vulkan stream: command buffers come round, a hundred batches deep") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const std::unique_ptr<Stream> stream = make_stream(*context);
  VkCommandBuffer first = VK_NULL_HANDLE;
  for (std::uint64_t value = 1; value <= 100; ++value) {
    const Result<VkCommandBuffer> commands = stream->commands();
    REQUIRE(commands);
    if (value == 1) first = *commands;
    CHECK((*commands == first) == (value == 1));
    REQUIRE(stream->submit());
  }
  REQUIRE(stream->wait(100));
  CHECK(*stream->commands() == first);
}

TEST_CASE("vulkan stream: memory that was given up is free once what was recorded is done") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  Result<std::shared_ptr<Runtime>> runtime = Runtime::create(context);
  REQUIRE(runtime);
  Stream& stream = (*runtime)->stream();
  MemoryPool& pool = (*runtime)->pool(MemoryKind::device);
  const Result<MemoryRange> range = pool.take(4096);
  REQUIRE(range);
  REQUIRE((*runtime)->fill_zero(*range));
  stream.retire(pool, *range);
  const Result<MemoryRange> other = pool.take(4096);
  CHECK(other->address != range->address);
  REQUIRE(stream.submit());
  const Result<MemoryRange> third = pool.take(4096);
  CHECK(third->address != range->address);
  REQUIRE(stream.wait(1));
  CHECK(pool.take(4096)->address == range->address);
  // Nothing uses it: the next wait, for whatever it is, gives it back.
  stream.retire(pool, *other);
  REQUIRE(stream.wait(1));
  CHECK(pool.take(4096)->address == other->address);
}

TEST_CASE("vulkan stream: copies and fills of many batches see one another in order") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  Result<std::shared_ptr<Runtime>> runtime = Runtime::create(context);
  REQUIRE(runtime);
  Stream& stream = (*runtime)->stream();
  const Result<MemoryRange> a = (*runtime)->pool(MemoryKind::download).take(1 << 20);
  const Result<MemoryRange> b = (*runtime)->pool(MemoryKind::device).take(1 << 20);
  REQUIRE(a);
  REQUIRE(b);
  std::uint32_t n_wrong = 0;
  for (std::uint32_t round = 1; round <= 50; ++round) {
    const Result<MemoryRange> staged = (*runtime)->stage(MemoryKind::upload, 1 << 20);
    REQUIRE(staged);
    std::memset(staged->host, static_cast<int>(round), 1 << 20);
    REQUIRE((*runtime)->fill_zero(*b));
    REQUIRE(stream.barrier());
    REQUIRE((*runtime)->copy(*staged, 0, *b, 0, 1 << 20));
    if (round % 3 == 0) REQUIRE(stream.submit());
    REQUIRE(stream.barrier());
    REQUIRE((*runtime)->copy(*b, 0, *a, 0, 1 << 20));
    REQUIRE(stream.wait(stream.open_value()));
    const auto expected = static_cast<std::byte>(round);
    if (a->host[0] != expected || a->host[(1 << 20) - 1] != expected) ++n_wrong;
  }
  CHECK(n_wrong == 0);
}

}  // namespace
}  // namespace kvault::vulkan
