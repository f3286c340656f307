#include "gpu_cuda/kept_tables.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "core/cache/cache.hpp"
#include "gpu_cuda/cuda_device.hpp"
#include "tests/support/random.hpp"
#include "tests/support/skip.hpp"

namespace kvault::cuda {
namespace {

std::shared_ptr<Runtime> open_runtime() {
  Result<std::shared_ptr<const Context>> context = Context::open({});
  if (!context) {
    REQUIRE(context.error().code == Errc::device_absent);
    return nullptr;
  }
  Result<std::shared_ptr<Runtime>> runtime = Runtime::create(std::move(*context));
  REQUIRE(runtime);
  return std::move(*runtime);
}

std::vector<std::byte> random_bytes(std::size_t n, test::Random& random) {
  std::vector<std::byte> bytes(n);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  return bytes;
}

std::vector<std::byte> read(Runtime& runtime, CUdeviceptr place, std::size_t size_bytes) {
  const Context::Scope scope(runtime.context());
  std::vector<std::byte> bytes(size_bytes);
  REQUIRE(runtime.download(bytes, place));
  REQUIRE(runtime.stream().wait(runtime.stream().open_value()));
  return bytes;
}

/// Places and sends it as a call of its own; what it cost, in bytes.
std::uint64_t send(Runtime& runtime, const KeptTables::Key& key,
                   const std::vector<std::byte>& bytes) {
  const Context::Scope scope(runtime.context());
  KeptTables& tables = runtime.kept_tables();
  const std::uint64_t before_bytes = tables.n_sent_bytes();
  tables.begin_call();
  const Result<CUdeviceptr> place = tables.place(key, bytes.size());
  REQUIRE(place);
  REQUIRE(tables.send(key, bytes));
  CHECK(read(runtime, *place, bytes.size()) == bytes);
  return tables.n_sent_bytes() - before_bytes;
}

}  // namespace

TEST_CASE("cuda kept tables: what stands on the device is what was sent, however it changed") {
  const auto runtime = open_runtime();
  if (runtime == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  test::Random random(1);
  std::vector<std::vector<std::byte>> tables(3);
  for (int step = 0; step < 200; ++step) {
    CAPTURE(step);
    const std::uint32_t which = random.integer(0, 2);
    std::vector<std::byte>& table = tables[which];
    switch (random.integer(0, 3)) {
      case 0:
        table = random_bytes(random.integer(0, 20000), random);
        break;
      case 1:
        table.resize(std::min<std::size_t>(table.size() + random.integer(0, 3000), 30000));
        break;
      case 2:
        table.resize(random.integer(0, static_cast<std::uint32_t>(table.size())));
        break;
      default:
        for (std::uint32_t i = random.integer(0, 4); i > 0 && !table.empty(); --i) {
          const auto last = static_cast<std::uint32_t>(table.size() - 1);
          table[random.integer(0, last)] = std::byte(random.integer(0, 255));
        }
    }
    send(*runtime, {7, which}, table);
  }
}

TEST_CASE("cuda kept tables: what has not changed is not sent again") {
  const auto runtime = open_runtime();
  if (runtime == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  test::Random random(2);
  std::vector<std::byte> table = random_bytes(100000, random);
  CHECK(send(*runtime, {1, 0}, table) == 100000);
  CHECK(send(*runtime, {1, 0}, table) == 0);
  table[3000] ^= std::byte{1};
  CHECK(send(*runtime, {1, 0}, table) == 1024);
  table.resize(100100);
  CHECK(send(*runtime, {1, 0}, table) <= 2048);
  CHECK(send(*runtime, {2, 0}, table) == 100100);
}

TEST_CASE("cuda kept tables: beyond a limit the oldest go, and come back whole") {
  const auto runtime = open_runtime();
  if (runtime == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  test::Random random(3);
  const std::vector<std::byte> small = random_bytes(5000, random);
  const std::vector<std::byte> large(KeptTables::kKeptBytes, std::byte{3});
  CHECK(send(*runtime, {1, 0}, small) == small.size());
  CHECK(send(*runtime, {2, 0}, large) == large.size());
  CHECK(send(*runtime, {1, 0}, small) == small.size());
  CHECK(send(*runtime, {1, 0}, small) == 0);
}

TEST_CASE("cuda kept tables: a token more sends little of a sequence's page table") {
  const auto runtime = open_runtime();
  if (runtime == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  const std::unique_ptr<Device> device = open_device(runtime);
  CacheOptions options;
  options.shape.row_type = RowType::f32;
  options.shape.layers = {{.kind = LayerKind::full_attention,
                           .n_head = 8,
                           .n_kv_head = 8,
                           .key_head_dim = 32,
                           .value_head_dim = 32,
                           .key_scheme = Scheme::tq4,
                           .value_scheme = Scheme::tq4}};
  Result<Cache> cache = Cache::create(*device, options);
  REQUIRE(cache);
  test::Random random(4);
  const auto append = [&](std::uint32_t n) {
    const std::vector<float> rows = random.normals(std::size_t{n} * 8 * 32);
    const RowsView view =
        RowsView::dense(std::as_bytes(std::span(rows)).data(), RowType::f32, n, 8, 32);
    REQUIRE(cache->append(LayerIndex(0), view, view));
  };
  const std::vector<float> q = random.normals(std::size_t{8} * 32);
  std::vector<float> out(q.size());
  const auto sent_by_attend = [&] {
    const std::uint64_t before_bytes = runtime->kept_tables().n_sent_bytes();
    AttendRequest request;
    request.n_q = 1;
    request.q = q;
    request.out = out;
    REQUIRE(cache->attend(LayerIndex(0), request));
    return runtime->kept_tables().n_sent_bytes() - before_bytes;
  };
  append(24 * 128 + 1);
  // 25 pages of 8 heads, 24 bytes each, beside the plan.
  const std::uint64_t first_bytes = sent_by_attend();
  CHECK(first_bytes > 25 * 8 * 24);
  append(1);
  CHECK(sent_by_attend() <= 2048);
  append(1);
  CHECK(sent_by_attend() <= 2048);
  append(126);
  CHECK(sent_by_attend() < first_bytes);
}

}  // namespace kvault::cuda
