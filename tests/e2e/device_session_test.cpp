#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/cache/cache.hpp"
#include "kvault_backends.hpp"
#include "sdk/src/session.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/support/chat.hpp"
#include "tests/support/skip.hpp"

// A session is not of the device it was written on: every other one reads the same bytes from it.

namespace kvault {
namespace {

using test::Chat;

/// Every block of a cache, as stored.
using Blocks = std::vector<std::pair<BlockFormat, std::vector<std::byte>>>;

Blocks blocks_of(Cache& cache, const Chat& chat) {
  Blocks blocks;
  const std::uint64_t n_page = (cache.n_token().raw + kPageTokens - 1) / kPageTokens;
  for (std::uint64_t page = 0; page < n_page; ++page) {
    for (const Side side : {Side::key, Side::value}) {
      for (std::uint32_t head = 0; head < chat.spec().n_kv_head; ++head) {
        std::vector<std::byte> bytes;
        const auto format = cache.read_block(LayerIndex(0), PageIndex(page), side, head, bytes);
        REQUIRE(format);
        blocks.emplace_back(*format, std::move(bytes));
      }
    }
  }
  return blocks;
}

/// Opens the session on a device, checks that it holds `blocks`, takes the chat on to `last` and
/// saves. What the queries gave; `blocks` are then those of the longer chat.
std::vector<float> go_on(const test::Daemon& daemon, Device& device, const Chat& chat,
                         std::uint64_t last, Blocks& blocks) {
  Client client = daemon.connect();
  SessionOptions options;
  options.description = {"chat", {{"weights", "abc"}}, chat.options.shape};
  options.cache = chat.options;
  options.create = true;
  const auto stored = StoredCache::open(client, device, std::move(options));
  if (!stored) FAIL(stored.error().message);
  Cache& cache = (*stored)->cache();
  CHECK(blocks_of(cache, chat) == blocks);
  const std::uint64_t first = cache.n_token().raw;
  std::vector<float> out = test::feed(cache, chat, first, last, 128);
  if (const auto saved = (*stored)->save(std::vector<std::uint32_t>(last - first, 7)); !saved) {
    FAIL(saved.error().message);
  }
  blocks = blocks_of(cache, chat);
  return out;
}

/// Alternates between two devices, turn by turn, and compares with a chat of one.
void check_alternation(const Chat& chat, Device& first, Device& second, Device& reference_device) {
  Cache reference = test::make_cache(reference_device, chat);
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Blocks blocks;
  std::uint64_t begin = 0;
  for (const auto& [device, end] : {std::pair(&first, 400U), std::pair(&second, 700U),
                                    std::pair(&first, 800U), std::pair(&second, 1000U)}) {
    CAPTURE(std::string(device->name()));
    CAPTURE(end);
    const std::vector<float> out = go_on(daemon, *device, chat, end, blocks);
    const std::vector<float> expected = test::feed(reference, chat, begin, end, 128);
    CHECK(test::worst_row_distance(out, expected, chat.spec().value_head_dim) < 2e-3);
    begin = end;
  }
}

/// A device whose driver adopts no pack after all.
class Refuser final : public Device {
 public:
  explicit Refuser(Device& device) : device_(device) {}

  std::string_view name() const noexcept override { return device_.name(); }
  const DeviceCaps& caps() const noexcept override { return device_.caps(); }
  Result<std::unique_ptr<Buffer>> allocate(const BufferOptions& options) override {
    if (options.host_memory.empty()) return device_.allocate(options);
    ++n_refused;
    return fail(Errc::out_of_memory, "too large to import");
  }
  Result<Ticket> upload(Buffer& target, std::uint64_t offset_bytes,
                        std::span<const std::byte> source) override {
    return device_.upload(target, offset_bytes, source);
  }
  Result<Ticket> download(const Buffer& source, std::uint64_t offset_bytes,
                          std::span<std::byte> target) override {
    return device_.download(source, offset_bytes, target);
  }
  Result<Ticket> encode(const EncodeArgs& args) override { return device_.encode(args); }
  Result<Ticket> attend(const AttendArgs& args) override { return device_.attend(args); }
  Result<Ticket> reconstruct(const ReconstructArgs& args) override {
    return device_.reconstruct(args);
  }
  Result<> wait(Ticket ticket) override { return device_.wait(ticket); }

  int n_refused = 0;

 private:
  Device& device_;
};

TEST_CASE("short: a pack that a device cannot adopt is copied") {
  const auto cpu = test::open_cpu();
  REQUIRE(cpu->caps().adopts_host_memory);
  Refuser refuser(*cpu);
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq3, 32), 1000, 77);
  check_alternation(chat, *cpu, refuser, *cpu);
  CHECK(refuser.n_refused > 0);
}

TEST_CASE("a session written on one device is read on every other with the same bytes") {
  const auto cpu = test::open_cpu();
  std::string reasons;
  std::vector<std::unique_ptr<Device>> others;
  for (const BackendEntry& backend : backends().subspan(1)) {
    auto device = open_device(backend.name);
    if (device) {
      others.push_back(std::move(*device));
    } else {
      REQUIRE(device.error().code == Errc::device_absent);
      reasons += "; " + device.error().message;
    }
  }
  if (others.empty()) KVAULT_TEST_SKIP("no device but the cpu" + reasons);
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq3, 32), 1000, 76);
  for (const auto& other : others) {
    check_alternation(chat, *cpu, *other, *cpu);
    check_alternation(chat, *other, *cpu, *cpu);
  }
}

}  // namespace
}  // namespace kvault
