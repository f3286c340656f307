#ifdef KVAULT_SDK_HAS_CUDA

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/base/half.hpp"
#include "tests/support/random.hpp"
#include "tests/support/skip.hpp"
#include "tests/unit/sdk/cuda_engine.hpp"

// Caches in a context that an engine lends, with rows, queries and results in its device memory:
// the bits of the same cache with host memory.

namespace kvault::sdk {
namespace {

using test::CudaArray;
using test::CudaEngine;
using test::OwnedCudaCache;

constexpr std::uint32_t kHeads = 4;
constexpr std::uint32_t kKvHeads = 2;

#define CHECK_OK(call)                \
  do {                                \
    kvault_error error{};             \
    const kvault_status s = (call);   \
    INFO(std::string(error.message)); \
    CHECK(s == KVAULT_OK);            \
  } while (false)

struct Shape {
  kvault_row_type row_type = KVAULT_F32;
  std::uint32_t key_dim = 64;
  std::uint32_t value_dim = 32;
  kvault_scheme key_scheme = KVAULT_TQ4;
  kvault_scheme value_scheme = KVAULT_TQ3;
  kvault_equalise equalise = KVAULT_EQUALISE_LEARN;

  std::size_t element_bytes() const { return row_type == KVAULT_F32 ? 4 : 2; }
};

OwnedCudaCache make_cache(const Shape& shape, const kvault_cuda_device* lent) {
  const kvault_layer layer = {KVAULT_FULL_ATTENTION, kHeads, kKvHeads,         shape.key_dim,
                              shape.value_dim,       0,      shape.key_scheme, shape.value_scheme};
  kvault_cache_options options = KVAULT_CACHE_OPTIONS_INIT;
  options.n_layer = 1;
  options.layers = &layer;
  options.row_type = shape.row_type;
  options.equalise = shape.equalise;
  if (lent == nullptr) options.device = "cuda";
  options.cuda_device = lent;
  kvault_cache* cache = nullptr;
  CHECK_OK(kvault_cache_create(&options, &cache, &error));
  REQUIRE(cache != nullptr);
  return OwnedCudaCache(cache);
}

/// Random elements of a row type, as bytes.
std::vector<std::byte> make_elements(kvault_row_type type, std::size_t n, std::uint64_t seed) {
  std::vector<std::byte> bytes;
  for (const float value : test::Random(seed).normals(n)) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    if (type == KVAULT_F16) bits = to_half(value).bits;
    if (type == KVAULT_BF16) bits = to_bfloat16(value).bits;
    const auto* const first = reinterpret_cast<const std::byte*>(&bits);
    bytes.insert(bytes.end(), first, first + (type == KVAULT_F32 ? 4 : 2));
  }
  return bytes;
}

/// What a step of the model hands over: keys and values of a token behind one another in one array,
/// with a gap between heads, as a fused projection leaves them.
struct Step {
  Step(const Shape& shape, std::uint32_t n, std::uint64_t seed)
      : n_token(n), value_dim(shape.value_dim) {
    const auto element = static_cast<std::int64_t>(shape.element_bytes());
    head_stride = (shape.key_dim + 3) * element;
    value_stride = (shape.value_dim + 1) * element;
    value_at = kKvHeads * static_cast<std::size_t>(head_stride);
    token_stride = static_cast<std::int64_t>(value_at) + kKvHeads * value_stride;
    rows =
        make_elements(shape.row_type, n * static_cast<std::size_t>(token_stride / element), seed);
    q = test::Random(seed + 1).normals(std::size_t{n} * kHeads * shape.key_dim);
    out.resize(std::size_t{n} * kHeads * shape.value_dim);
    lse.resize(std::size_t{n} * kHeads);
  }
  kvault_rows keys(const std::byte* first) const {
    return {first, n_token, 0, token_stride, head_stride};
  }
  kvault_rows values(const std::byte* first) const {
    return {first + value_at, n_token, 0, token_stride, value_stride};
  }
  kvault_attend_options options(const float* q_at, float* out_at, float* lse_at) const {
    kvault_attend_options options = KVAULT_ATTEND_OPTIONS_INIT;
    options.n_q = n_token;
    options.q = q_at;
    options.out = out_at;
    options.lse = lse_at;
    return options;
  }

  std::uint32_t n_token;
  std::uint32_t value_dim;
  std::int64_t head_stride = 0;
  std::int64_t value_stride = 0;
  std::int64_t token_stride = 0;
  std::size_t value_at = 0;
  std::vector<std::byte> rows;
  std::vector<float> q;
  std::vector<float> out;
  std::vector<float> lse;
};

/// A step in an engine's memory.
struct StepArrays {
  StepArrays(const CudaEngine& engine, const Step& step)
      : rows(engine, step.rows),
        q(engine, step.q),
        out(engine, step.out.size()),
        lse(engine, step.lse.size()) {}
  void spoil_inputs() const {
    rows.spoil();
    q.spoil();
  }
  CudaArray<std::byte> rows;
  CudaArray<float> q;
  CudaArray<float> out;
  CudaArray<float> lse;
};

enum class Way { append_attend, append_then_attend };

/// The same step by way of host memory and by way of the engine's, which it uses for other things
/// as soon as the calls have returned.
void check_same(const CudaEngine& engine, kvault_cache* host, kvault_cache* lent, Step step,
                Way way) {
  const StepArrays arrays(engine, step);
  const kvault_rows k = step.keys(step.rows.data());
  const kvault_rows v = step.values(step.rows.data());
  const kvault_attend_options on_host =
      step.options(step.q.data(), step.out.data(), step.lse.data());
  const kvault_rows keys = step.keys(arrays.rows.at());
  const kvault_rows values = step.values(arrays.rows.at());
  const kvault_attend_options options =
      step.options(arrays.q.at(), arrays.out.at(), arrays.lse.at());
  if (way == Way::append_attend) {
    CHECK_OK(kvault_cache_append_attend(host, 0, &k, &v, &on_host, &error));
    CHECK_OK(kvault_cuda_append_attend(lent, 0, &keys, &values, &options, &error));
  } else {
    CHECK_OK(kvault_cache_append(host, 0, &k, &v, &error));
    CHECK_OK(kvault_cache_attend(host, 0, &on_host, &error));
    CHECK_OK(kvault_cuda_append(lent, 0, &keys, &values, &error));
    CHECK_OK(kvault_cuda_attend(lent, 0, &options, &error));
  }
  arrays.spoil_inputs();
  CHECK(step.out != std::vector<float>(step.out.size()));
  CHECK(arrays.out.read() == step.out);
  CHECK(arrays.lse.read() == step.lse);
}

std::vector<std::byte> read_block(kvault_cache* cache, kvault_side side, std::uint64_t page) {
  kvault_block block{};
  CHECK_OK(kvault_cache_read_block(cache, 0, side, page, 1, &block, nullptr, 0, &error));
  std::vector<std::byte> bytes(block.size_bytes);
  CHECK_OK(
      kvault_cache_read_block(cache, 0, side, page, 1, &block, bytes.data(), bytes.size(), &error));
  bytes.push_back(std::byte(block.format));
  return bytes;
}

void check_blocks(kvault_cache* a, kvault_cache* b) {
  const std::uint64_t n_page = (kvault_cache_n_token(a) + 127) / 128;
  for (std::uint64_t page = 0; page < n_page; ++page) {
    for (const kvault_side side : {KVAULT_KEY, KVAULT_VALUE}) {
      CHECK(read_block(a, side, page) == read_block(b, side, page));
    }
  }
}

}  // namespace

TEST_CASE("kvault_cuda.h: rows and results on the device give the bits of host memory") {
  const auto engine = CudaEngine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  const Shape shapes[] = {
      {},
      {.row_type = KVAULT_F16, .key_dim = 48, .value_dim = 64},
      {.row_type = KVAULT_BF16,
       .key_scheme = KVAULT_Q8,
       .value_scheme = KVAULT_RAW,
       .equalise = KVAULT_EQUALISE_NONE},
  };
  std::uint64_t seed = 1;
  for (const Shape& shape : shapes) {
    CAPTURE(shape.key_dim);
    const std::uint32_t flags = seed % 2 == 0 ? KVAULT_CUDA_ROWS_ARE_FINITE : 0;
    const kvault_cuda_device lent = engine->lend(flags);
    const OwnedCudaCache on_host = make_cache(shape, nullptr);
    const OwnedCudaCache on_device = make_cache(shape, &lent);
    for (const std::uint32_t n : {3U, 150U, 1U, 110U, 1U, 180U, 2U}) {
      const Way way = n < 100 ? Way::append_then_attend : Way::append_attend;
      check_same(*engine, on_host.get(), on_device.get(), Step(shape, n, seed++), way);
    }
    CHECK(kvault_cache_n_token(on_device.get()) == 447);
    check_blocks(on_host.get(), on_device.get());
    ++seed;
  }
  CHECK(engine->current() == nullptr);
}

TEST_CASE("kvault_cuda.h: attending and appending of finite rows does not wait for the device") {
  const auto engine = CudaEngine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  if (!engine->is_emulated()) KVAULT_TEST_SKIP("only the emulator's memory can be looked into");
  const Shape shape = {.equalise = KVAULT_EQUALISE_NONE};
  const kvault_cuda_device lent = engine->lend(KVAULT_CUDA_ROWS_ARE_FINITE);
  const OwnedCudaCache cache = make_cache(shape, &lent);
  const Step step(shape, 5, 7);
  const StepArrays arrays(*engine, step);
  const kvault_rows keys = step.keys(arrays.rows.at());
  const kvault_rows values = step.values(arrays.rows.at());
  const kvault_attend_options options =
      step.options(arrays.q.at(), arrays.out.at(), arrays.lse.at());
  engine->synchronize();
  for (int i = 0; i < 3; ++i) {
    CHECK_OK(kvault_cuda_append_attend(cache.get(), 0, &keys, &values, &options, &error));
    CHECK_OK(kvault_cuda_attend(cache.get(), 0, &options, &error));
  }
  // The emulator does nothing before it is waited for.
  CHECK(std::isnan(arrays.out.at()[0]));
  engine->synchronize();
  CHECK(!std::isnan(arrays.out.at()[0]));
}

TEST_CASE("kvault_cuda.h: a captured graph attends what every token to come sees") {
  const auto engine = CudaEngine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  const Shape shapes[] = {
      {.equalise = KVAULT_EQUALISE_NONE},
      {.row_type = KVAULT_F16, .value_scheme = KVAULT_RAW, .equalise = KVAULT_EQUALISE_NONE}};
  std::uint64_t seed = 100;
  for (const Shape& shape : shapes) {
    const kvault_cuda_device lent = engine->lend(KVAULT_CUDA_ROWS_ARE_FINITE);
    const OwnedCudaCache on_host = make_cache(shape, nullptr);
    const OwnedCudaCache on_device = make_cache(shape, &lent);
    check_same(*engine, on_host.get(), on_device.get(), Step(shape, 380, seed++),
               Way::append_attend);
    Step step(shape, 1, seed++);
    const StepArrays arrays(*engine, step);
    const kvault_rows keys = step.keys(arrays.rows.at());
    const kvault_rows values = step.values(arrays.rows.at());
    const kvault_attend_options options =
        step.options(arrays.q.at(), arrays.out.at(), arrays.lse.at());
    kvault_cuda_plan* plan = nullptr;
    CHECK_OK(kvault_cuda_plan_create(on_device.get(), 0, &options, 2000, &plan, &error));
    REQUIRE(plan != nullptr);
    CHECK_OK(kvault_cuda_plan_update(plan, &error));
    engine->begin_capture();
    CHECK_OK(kvault_cuda_plan_attend(plan, &error));
    const CUgraphExec graph = engine->end_capture();
    // Over the border of a page, where one is sealed.
    for (int i = 0; i < 9; ++i) {
      CAPTURE(i);
      Step next(shape, 1, seed++);
      const kvault_rows k = next.keys(next.rows.data());
      const kvault_rows v = next.values(next.rows.data());
      const kvault_attend_options host_options =
          next.options(next.q.data(), next.out.data(), next.lse.data());
      CHECK_OK(kvault_cache_append(on_host.get(), 0, &k, &v, &error));
      CHECK_OK(kvault_cache_attend(on_host.get(), 0, &host_options, &error));
      arrays.rows.write(next.rows);
      arrays.q.write(next.q);
      arrays.out.spoil();
      CHECK_OK(kvault_cuda_append(on_device.get(), 0, &keys, &values, &error));
      CHECK_OK(kvault_cuda_plan_update(plan, &error));
      engine->launch(graph);
      CHECK(arrays.out.read() == next.out);
      CHECK(arrays.lse.read() == next.lse);
    }
    engine->destroy(graph);
    kvault_cuda_plan_destroy(plan);
  }
}

TEST_CASE("kvault_cuda.h: the calling thread's current context, the default stream, and forks") {
  const auto engine = CudaEngine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  const Shape shape;
  const kvault_cuda_device lent = KVAULT_CUDA_DEVICE_INIT;
  engine->enter();
  const CUcontext current = engine->current();
  const OwnedCudaCache on_device = make_cache(shape, &lent);
  CHECK(engine->current() == current);
  engine->leave();
  const OwnedCudaCache on_host = make_cache(shape, nullptr);
  const Step step(shape, 140, 3);
  const StepArrays arrays(*engine, step);
  engine->synchronize();  // the engine's stream is not the cache's
  const kvault_rows k = step.keys(step.rows.data());
  const kvault_rows v = step.values(step.rows.data());
  const kvault_rows keys = step.keys(arrays.rows.at());
  const kvault_rows values = step.values(arrays.rows.at());
  CHECK_OK(kvault_cache_append(on_host.get(), 0, &k, &v, &error));
  CHECK_OK(kvault_cuda_append(on_device.get(), 0, &keys, &values, &error));
  check_blocks(on_host.get(), on_device.get());
  // A fork takes device memory too, and host memory goes on working.
  kvault_cache* fork = nullptr;
  CHECK_OK(kvault_cache_fork(on_device.get(), 100, &fork, nullptr, &error));
  const OwnedCudaCache owned(fork);
  CHECK_OK(kvault_cache_rollback(on_host.get(), 100, nullptr, &error));
  CHECK_OK(kvault_cuda_append(fork, 0, &keys, &values, &error));
  CHECK_OK(kvault_cache_append(on_host.get(), 0, &k, &v, &error));
  CHECK_OK(kvault_cache_append(fork, 0, &k, &v, &error));
  CHECK_OK(kvault_cache_append(on_host.get(), 0, &k, &v, &error));
  check_blocks(on_host.get(), fork);
}

}  // namespace kvault::sdk

#endif
