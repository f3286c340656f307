#ifdef KVAULT_SDK_HAS_CUDA

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/random.hpp"
#include "tests/support/skip.hpp"
#include "tests/unit/sdk/cuda_engine.hpp"

// What an engine may not lend or ask for: an error that says what was wrong, and nothing changed.

namespace kvault::sdk {
namespace {

using test::CudaArray;
using test::CudaEngine;
using test::OwnedCudaCache;

constexpr std::uint32_t kHeads = 4;
constexpr std::uint32_t kKvHeads = 2;
constexpr std::uint32_t kDim = 32;
constexpr std::uint32_t kTokens = 6;
constexpr std::size_t kTokenFloats = kKvHeads * kDim;
constexpr kvault_layer kLayers[] = {
    {KVAULT_FULL_ATTENTION, kHeads, kKvHeads, kDim, kDim, 0, KVAULT_TQ4, KVAULT_TQ4},
    {KVAULT_NO_MEMORY, 0, 0, 0, 0, 0, KVAULT_RAW, KVAULT_RAW}};

void check_says(const kvault_error& error, kvault_status status, std::string_view part) {
  INFO(std::string(error.message));
  CHECK(error.status == status);
  CHECK(std::string_view(error.message).find(part) != std::string_view::npos);
}

kvault_cache_options options_with(const kvault_cuda_device* lent) {
  kvault_cache_options options = KVAULT_CACHE_OPTIONS_INIT;
  options.n_layer = 2;
  options.layers = kLayers;
  options.row_type = KVAULT_F32;
  options.cuda_device = lent;
  return options;
}

OwnedCudaCache create(const kvault_cache_options& options, kvault_error& error) {
  kvault_cache* cache = nullptr;
  const kvault_status status = kvault_cache_create(&options, &cache, &error);
  CHECK(status == error.status);
  CHECK((cache != nullptr) == (status == KVAULT_OK));
  return OwnedCudaCache(cache);
}

/// Rows, queries and room for results of a step in one allocation each.
struct Arrays {
  explicit Arrays(const CudaEngine& engine,
                  std::vector<float> rows = test::Random(1).normals(kTokens * kTokenFloats))
      : k(engine, rows),
        v(engine, test::Random(2).normals(kTokens * kTokenFloats)),
        q(engine, test::Random(3).normals(kTokens * kHeads * kDim)),
        out(engine, kTokens * kHeads * (kDim + 1)) {}

  kvault_rows keys() const { return {k.at(), kTokens, 0, 0, 0}; }
  kvault_rows values() const { return {v.at(), kTokens, 0, 0, 0}; }
  kvault_attend_options options() const {
    kvault_attend_options options = KVAULT_ATTEND_OPTIONS_INIT;
    options.n_q = kTokens;
    options.q = q.at();
    options.out = out.at();
    options.lse = out.at(kTokens * kHeads * kDim);
    return options;
  }

  CudaArray<float> k;
  CudaArray<float> v;
  CudaArray<float> q;
  CudaArray<float> out;
};

/// What a call may get wrong.
struct Call {
  explicit Call(const Arrays& arrays)
      : keys(arrays.keys()), values(arrays.values()), options(arrays.options()) {}
  std::uint32_t layer = 0;
  kvault_rows keys;
  kvault_rows values;
  kvault_attend_options options;
  const kvault_rows* keys_given = &keys;
  const kvault_attend_options* options_given = &options;
};

struct Fault {
  std::string_view part;
  kvault_status status;
  std::function<void(Call&)> spoil;
};

/// Whichever of the functions takes what is wrong refuses it, and the cache stays as it was.
void check_fault(kvault_cache* cache, const Arrays& arrays, const Fault& fault) {
  CAPTURE(std::string(fault.part));
  const std::uint64_t n_token = kvault_cache_n_token(cache);
  arrays.out.spoil();
  Call call(arrays);
  fault.spoil(call);
  kvault_error error{};
  kvault_cuda_append_attend(cache, call.layer, call.keys_given, &call.values, call.options_given,
                            &error);
  check_says(error, fault.status, fault.part);
  const bool is_of_rows =
      kvault_cuda_append(cache, call.layer, call.keys_given, &call.values, &error) != KVAULT_OK;
  if (is_of_rows) check_says(error, fault.status, fault.part);
  const bool is_of_attend =
      kvault_cuda_attend(cache, call.layer, call.options_given, &error) != KVAULT_OK;
  if (is_of_attend) {
    check_says(error, fault.status, fault.part);
    for (const float value : arrays.out.read()) CHECK(std::isnan(value));
  }
  CHECK((is_of_rows || is_of_attend));
  if (!is_of_rows) CHECK(kvault_cache_rollback(cache, n_token, nullptr, nullptr) == KVAULT_OK);
  CHECK(kvault_cache_n_token(cache) == n_token);
}

template <class T>
T* moved(const T* pointer, std::ptrdiff_t n_byte) {
  return reinterpret_cast<T*>(reinterpret_cast<std::intptr_t>(pointer) + n_byte);
}

}  // namespace

TEST_CASE("kvault_cuda.h: what cannot be lent is refused by name") {
  const auto engine = CudaEngine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  const CUcontext other = engine->make_context();
  const struct {
    std::string_view part;
    kvault_status status;
    std::function<void(kvault_cuda_device&)> spoil;
  } loans[] = {
      {"no current one", KVAULT_INVALID_ARGUMENT, [](auto& l) { l.context = nullptr; }},
      {"of another context", KVAULT_INVALID_ARGUMENT, [&](auto& l) { l.context = other; }},
      {"flags is 6", KVAULT_UNSUPPORTED, [](auto& l) { l.flags = 6; }},
      {"cuda_device.struct_size is 3", KVAULT_INVALID_ARGUMENT, [](auto& l) { l.struct_size = 3; }},
  };
  kvault_error error{};
  for (const auto& loan : loans) {
    CAPTURE(std::string(loan.part));
    kvault_cuda_device lent = engine->lend();
    loan.spoil(lent);
    CHECK(create(options_with(&lent), error) == nullptr);
    check_says(error, loan.status, loan.part);
  }
  const kvault_cuda_device lent = engine->lend();
  kvault_cache_options options = options_with(&lent);
  options.device = "cpu";
  CHECK(create(options, error) == nullptr);
  check_says(error, KVAULT_INVALID_ARGUMENT, "a cuda_device is lent, but the device \"cpu\"");
  options.device = nullptr;
  options.vulkan_device = reinterpret_cast<const kvault_vulkan_device*>(&lent);
  CHECK(create(options, error) == nullptr);
  check_says(error, KVAULT_INVALID_ARGUMENT, "not one");
  if (engine->is_emulated()) {
    // A driver that is not emulated would follow such a handle.
    kvault_cuda_device wrong = lent;
    wrong.context = &wrong;
    CHECK(create(options_with(&wrong), error) == nullptr);
    check_says(error, KVAULT_INVALID_ARGUMENT, "the lent context is none");
    wrong = lent;
    wrong.stream = &wrong;
    CHECK(create(options_with(&wrong), error) == nullptr);
    check_says(error, KVAULT_INVALID_ARGUMENT, "the lent stream");
  }
  CHECK(create(options_with(&lent), error) != nullptr);
  engine->destroy_context(other);
  CHECK(engine->current() == nullptr);
}

TEST_CASE("kvault_cuda.h: a call that is wrong says what is, and changes nothing") {
  const auto engine = CudaEngine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  const CUcontext other = engine->make_context();
  kvault_error error{};
  const kvault_cuda_device lent = engine->lend();
  const OwnedCudaCache cache = create(options_with(&lent), error);
  REQUIRE(cache != nullptr);
  const Arrays arrays(*engine);
  const kvault_rows keys = arrays.keys();
  const kvault_rows values = arrays.values();
  REQUIRE(kvault_cuda_append(cache.get(), 0, &keys, &values, nullptr) == KVAULT_OK);
  const CudaArray<float> elsewhere(*engine, kTokens * kHeads * kDim, other);
  std::vector<float> on_host(kTokens * kHeads * kDim);
  const Fault faults[] = {
      {"layer 2 of 2", KVAULT_OUT_OF_RANGE, [](auto& c) { c.layer = 2; }},
      {"layer 1 has no keys", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.layer = 1; }},
      {"keys is NULL", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.keys_given = nullptr; }},
      {"values is NULL", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.values.data = nullptr; }},
      {"no memory that CUDA knows", KVAULT_INVALID_ARGUMENT,
       [&](auto& c) { c.keys.data = on_host.data(); }},
      {"another context", KVAULT_INVALID_ARGUMENT,
       [&](auto& c) { c.values.data = elsewhere.at(); }},
      {"is not aligned to 4 bytes", KVAULT_INVALID_ARGUMENT,
       [](auto& c) { c.keys.data = moved(c.keys.data, 2); }},
      {"keys: of 1536 bytes", KVAULT_OUT_OF_RANGE,
       [](auto& c) { c.keys.data = moved(c.keys.data, 4); }},
      {"values: of", KVAULT_OUT_OF_RANGE, [](auto& c) { c.values.token_stride_bytes = 260; }},
      {"keys: a stride of -256 bytes", KVAULT_INVALID_ARGUMENT,
       [](auto& c) { c.keys.token_stride_bytes = -256; }},
      {"keys: a stride of 126 bytes", KVAULT_INVALID_ARGUMENT,
       [](auto& c) { c.keys.head_stride_bytes = 126; }},
      {"lie in no memory", KVAULT_OUT_OF_RANGE,
       [](auto& c) { c.values.token_stride_bytes = std::numeric_limits<std::int64_t>::max() - 3; }},
      {"5 keys but 6 values", KVAULT_SHAPE_MISMATCH, [](auto& c) { c.keys.n_token = 5; }},
      {"options are NULL", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.options_given = nullptr; }},
      {"options.struct_size is 1", KVAULT_INVALID_ARGUMENT,
       [](auto& c) { c.options.struct_size = 1; }},
      {"q is NULL", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.options.q = nullptr; }},
      {"q at", KVAULT_INVALID_ARGUMENT, [&](auto& c) { c.options.q = on_host.data(); }},
      {"q: of 3072 bytes", KVAULT_OUT_OF_RANGE, [](auto& c) { c.options.q += 1; }},
      {"out is NULL", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.options.out = nullptr; }},
      {"out at", KVAULT_INVALID_ARGUMENT, [&](auto& c) { c.options.out = elsewhere.at(); }},
      {"lse: of 96 bytes", KVAULT_OUT_OF_RANGE, [](auto& c) { c.options.lse += 1; }},
      {"lse overlaps out", KVAULT_INVALID_ARGUMENT,
       [](auto& c) { c.options.lse = c.options.out + 767; }},
      {"overlaps q", KVAULT_INVALID_ARGUMENT,
       [](auto& c) { c.options.out = const_cast<float*>(c.options.q); }},
      {"softmax_scale", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.options.softmax_scale = -1; }},
  };
  for (const Fault& fault : faults) check_fault(cache.get(), arrays, fault);
  const kvault_attend_options options = arrays.options();
  engine->begin_capture();
  CHECK(kvault_cuda_append_attend(cache.get(), 0, &keys, &values, &options, &error) ==
        KVAULT_UNSUPPORTED);
  check_says(error, KVAULT_UNSUPPORTED, "captured");
  engine->destroy(engine->end_capture());
  CHECK(kvault_cuda_append_attend(cache.get(), 0, &keys, &values, &options, &error) == KVAULT_OK);
}

TEST_CASE("kvault_cuda.h: a row that is not finite is refused by its place") {
  const auto engine = CudaEngine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  kvault_error error{};
  for (const float wrong :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const kvault_cuda_device lent = engine->lend();
    const OwnedCudaCache cache = create(options_with(&lent), error);
    const kvault_cuda_device vouched = engine->lend(KVAULT_CUDA_ROWS_ARE_FINITE);
    const OwnedCudaCache trusting = create(options_with(&vouched), error);
    std::vector<float> rows = test::Random(5).normals(kTokens * kTokenFloats);
    rows[3 * kTokenFloats + kDim + 7] = wrong;
    rows[4 * kTokenFloats + 1] = wrong;
    const Arrays arrays(*engine, rows);
    const kvault_rows keys = arrays.keys();
    const kvault_rows values = arrays.values();
    const kvault_attend_options options = arrays.options();
    CHECK(kvault_cuda_append(cache.get(), 0, &keys, &values, &error) == KVAULT_NOT_FINITE);
    check_says(error, KVAULT_NOT_FINITE, "key of token 3 of the call, kv head 1, channel 7 is");
    kvault_cuda_append_attend(cache.get(), 0, &values, &keys, &options, &error);
    check_says(error, KVAULT_NOT_FINITE, "value of token 3 of the call, kv head 1, channel 7 is");
    kvault_cache_stats stats = KVAULT_CACHE_STATS_INIT;
    CHECK(kvault_cache_get_stats(cache.get(), &stats, nullptr) == KVAULT_OK);
    CHECK(stats.n_token == 0);
    CHECK(kvault_cuda_append_attend(cache.get(), 0, &values, &values, &options, &error) ==
          KVAULT_OK);
    CHECK(kvault_cuda_append_attend(trusting.get(), 0, &keys, &values, &options, &error) ==
          KVAULT_OK);
    // What it gives is worth nothing; the other kv head's is as ever.
    CHECK(std::isfinite(arrays.out.read()[(kTokens - 1) * kHeads * kDim]));
  }
}

TEST_CASE("kvault_cuda.h: a plan that is wrong says what is") {
  const auto engine = CudaEngine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  kvault_error error{};
  const kvault_cuda_device lent = engine->lend();
  const OwnedCudaCache cache = create(options_with(&lent), error);
  const Arrays arrays(*engine);
  kvault_attend_options right = arrays.options();
  right.n_q = 1;
  const std::uint8_t mask = 1;
  const struct {
    std::string_view part;
    kvault_status status;
    std::uint32_t layer;
    std::uint64_t n_token_max;
    std::function<void(kvault_attend_options&)> spoil;
  } faults[] = {
      {"layer 2 of 2", KVAULT_OUT_OF_RANGE, 2, 100, [](auto&) {}},
      {"not one of full attention", KVAULT_UNSUPPORTED, 1, 100, [](auto&) {}},
      {"n_token_max is 0", KVAULT_OUT_OF_RANGE, 0, 0, [](auto&) {}},
      {"n_token_max is 16777217", KVAULT_OUT_OF_RANGE, 0, 16777217, [](auto&) {}},
      {"1 query, not for 6", KVAULT_UNSUPPORTED, 0, 100, [](auto& o) { o.n_q = 6; }},
      {"a mask", KVAULT_UNSUPPORTED, 0, 100,
       [&](auto& o) {
         o.mask = &mask;
         o.mask_stride = 1;
       }},
      {"sparse", KVAULT_UNSUPPORTED, 0, 100, [](auto& o) { o.sparse_threshold = 0.1F; }},
      {"q at", KVAULT_INVALID_ARGUMENT, 0, 100,
       [&](auto& o) { o.q = reinterpret_cast<const float*>(&mask) - 1; }},
  };
  kvault_cuda_plan* plan = nullptr;
  for (const auto& fault : faults) {
    CAPTURE(std::string(fault.part));
    kvault_attend_options options = right;
    fault.spoil(options);
    kvault_cuda_plan_create(cache.get(), fault.layer, &options, fault.n_token_max, &plan, &error);
    check_says(error, fault.status, fault.part);
    CHECK(plan == nullptr);
  }
  REQUIRE(kvault_cuda_plan_create(cache.get(), 0, &right, 10, &plan, &error) == KVAULT_OK);
  kvault_cuda_plan_attend(plan, &error);
  check_says(error, KVAULT_INVALID_ARGUMENT, "never updated");
  kvault_cuda_plan_update(plan, &error);
  check_says(error, KVAULT_OUT_OF_RANGE, "has 0 tokens, the plan is for 1 to 10");
  const kvault_rows keys = arrays.keys();
  REQUIRE(kvault_cuda_append(cache.get(), 0, &keys, &keys, nullptr) == KVAULT_OK);
  kvault_cuda_plan_update(plan, &error);
  check_says(error, KVAULT_UNSUPPORTED, "still learns");
  REQUIRE(kvault_cuda_append(cache.get(), 0, &keys, &keys, nullptr) == KVAULT_OK);
  kvault_cuda_plan_update(plan, &error);
  check_says(error, KVAULT_OUT_OF_RANGE, "has 12 tokens");
  kvault_cuda_plan_destroy(plan);
  kvault_cuda_plan_destroy(nullptr);
}

TEST_CASE("kvault_cuda.h: a cache that is in no lent context takes no device memory") {
  kvault_error error{};
  const OwnedCudaCache cache = create(options_with(nullptr), error);
  REQUIRE(cache != nullptr);
  const kvault_rows rows{};
  const kvault_attend_options options = KVAULT_ATTEND_OPTIONS_INIT;
  kvault_cuda_append(cache.get(), 0, &rows, &rows, &error);
  check_says(error, KVAULT_UNSUPPORTED, "cuda_device");
  kvault_cuda_attend(cache.get(), 0, &options, &error);
  check_says(error, KVAULT_UNSUPPORTED, "cuda_device");
  kvault_cuda_plan* plan = nullptr;
  kvault_cuda_plan_create(cache.get(), 0, &options, 100, &plan, &error);
  check_says(error, KVAULT_UNSUPPORTED, "cuda_device");
  kvault_cuda_plan_update(nullptr, &error);
  check_says(error, KVAULT_INVALID_ARGUMENT, "plan is NULL");
  kvault_cuda_append_attend(nullptr, 0, &rows, &rows, &options, &error);
  check_says(error, KVAULT_INVALID_ARGUMENT, "cache is NULL");
}

}  // namespace kvault::sdk

#endif
