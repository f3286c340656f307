#ifdef KVAULT_SDK_HAS_VULKAN

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "tests/support/skip.hpp"
#include "tests/unit/sdk/lent_cache.hpp"

// What an engine may not lend or ask for: an error that says what was wrong, and nothing changed.

namespace kvault::sdk {
namespace {

using test::Engine;
using test::OwnedCache;
using test::Step;
using test::StepBuffers;

void check_says(const kvault_error& error, kvault_status status, std::string_view part) {
  INFO(std::string(error.message));
  CHECK(error.status == status);
  CHECK(std::string_view(error.message).find(part) != std::string_view::npos);
}

struct Loan {
  std::string_view part;  ///< of the sentence
  kvault_status status;
  std::function<void(kvault_vulkan_device&)> spoil;
};

void check_loan(const kvault_vulkan_device& whole, const Loan& loan) {
  CAPTURE(std::string(loan.part));
  struct {
    kvault_vulkan_device lent;
    std::uint64_t beyond = 1;
  } given = {whole};
  loan.spoil(given.lent);
  kvault_error error{};
  CHECK(test::create_lent(&given.lent, error) == nullptr);
  check_says(error, loan.status, loan.part);
}

/// What a call may get wrong.
struct Call {
  std::uint32_t layer = 0;
  kvault_vulkan_rows keys;
  kvault_vulkan_rows values;
  kvault_attend_options options;
  kvault_vulkan_attend_buffers buffers;
  const kvault_vulkan_rows* keys_given = &keys;
  const kvault_attend_options* options_given = &options;
  const kvault_vulkan_attend_buffers* buffers_given = &buffers;
};

struct Fault {
  std::string_view part;
  kvault_status status;
  std::function<void(Call&)> spoil;
};

/// Whichever of the functions takes what is wrong refuses it.
void check_fault(kvault_cache* cache, StepBuffers& buffers, const Step& step, const Fault& fault) {
  CAPTURE(std::string(fault.part));
  const std::vector<float> before(buffers.output().begin(), buffers.output().end());
  const std::uint64_t n_token = kvault_cache_n_token(cache);
  Call call{.keys = buffers.keys(),
            .values = buffers.values(),
            .options = step.options(),
            .buffers = buffers.attend()};
  fault.spoil(call);
  kvault_error error{};
  kvault_vulkan_append_attend(cache, call.layer, call.keys_given, &call.values, call.options_given,
                              call.buffers_given, nullptr, &error);
  check_says(error, fault.status, fault.part);
  const bool is_of_rows = kvault_vulkan_append(cache, call.layer, call.keys_given, &call.values,
                                               nullptr, &error) != KVAULT_OK;
  if (is_of_rows) check_says(error, fault.status, fault.part);
  const bool is_of_attend = kvault_vulkan_attend(cache, call.layer, call.options_given,
                                                 call.buffers_given, nullptr, &error) != KVAULT_OK;
  if (is_of_attend) {
    check_says(error, fault.status, fault.part);
    CHECK(std::equal(before.begin(), before.end(), buffers.output().begin()));
  }
  CHECK((is_of_rows || is_of_attend));
  if (!is_of_rows) {
    CHECK(kvault_cache_rollback(cache, n_token, nullptr, nullptr) == KVAULT_OK);
  }
  CHECK(kvault_cache_n_token(cache) == n_token);
}

}  // namespace

TEST_CASE("kvault_vulkan.h: what cannot be lent is refused by name") {
  const auto engine = Engine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const kvault_vulkan_device whole = engine->lend();
  const Loan loans[] = {
      {"instance is null", KVAULT_INVALID_ARGUMENT, [](auto& l) { l.instance = nullptr; }},
      {"physical device is null", KVAULT_INVALID_ARGUMENT,
       [](auto& l) { l.physical_device = nullptr; }},
      {"its device is null", KVAULT_INVALID_ARGUMENT, [](auto& l) { l.device = nullptr; }},
      {"its queue is null", KVAULT_INVALID_ARGUMENT, [](auto& l) { l.queue = nullptr; }},
      {"none of the", KVAULT_INVALID_ARGUMENT, [](auto& l) { l.physical_device = &l; }},
      {"family 77 of", KVAULT_OUT_OF_RANGE, [](auto& l) { l.queue_family = 77; }},
      {"locked, but not unlocked", KVAULT_INVALID_ARGUMENT,
       [](auto& l) { l.unlock_queue = nullptr; }},
      {"unlocked, but not locked", KVAULT_INVALID_ARGUMENT,
       [](auto& l) { l.lock_queue = nullptr; }},
      {"enabled is 4", KVAULT_UNSUPPORTED, [](auto& l) { l.enabled = 4; }},
      {"made without it", KVAULT_INVALID_ARGUMENT,
       [](auto& l) { l.enabled = KVAULT_VULKAN_HOST_IMPORT; }},
      {"vulkan_device.struct_size is 3", KVAULT_INVALID_ARGUMENT,
       [](auto& l) { l.struct_size = 3; }},
      {"vulkan_device of", KVAULT_UNSUPPORTED, [](auto& l) { l.struct_size += 8; }},
  };
  for (const Loan& loan : loans) {
    if (loan.part == "made without it" && engine->context().adapter().import_alignment_bytes == 0) {
      continue;  // the adapter has no such extension, which is another sentence
    }
    check_loan(whole, loan);
  }
  CHECK(engine->n_submit() == 0);
  kvault_error error{};
  CHECK(test::create_lent(&whole, error, "cpu") == nullptr);
  check_says(error, KVAULT_INVALID_ARGUMENT, "the device \"cpu\" is named as well");
  CHECK(test::create_lent(&whole, error) != nullptr);
}

TEST_CASE("kvault_vulkan.h: a call that is wrong says what is, and changes nothing") {
  const auto engine = Engine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const OwnedCache cache = test::make_lent(*engine);
  const Step step(6, 1);
  StepBuffers buffers(*engine, step);
  const kvault_vulkan_rows keys = buffers.keys();
  const kvault_vulkan_rows values = buffers.values();
  REQUIRE(kvault_vulkan_append(cache.get(), 0, &keys, &values, nullptr, nullptr) == KVAULT_OK);
  constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();
  const Fault faults[] = {
      {"layer 1 of 1", KVAULT_OUT_OF_RANGE, [](auto& c) { c.layer = 1; }},
      {"keys is NULL", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.keys_given = nullptr; }},
      {"keys: no buffer", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.keys.buffer.handle = 0; }},
      {"keys: 0 bytes at byte", KVAULT_OUT_OF_RANGE,
       [](auto& c) { c.keys.buffer.offset_bytes = kHuge; }},
      {"keys: 6 tokens of 2 rows of 256 bytes", KVAULT_OUT_OF_RANGE,
       [](auto& c) { c.keys.buffer.size_bytes = c.keys.buffer.offset_bytes + 6 * 512 - 1; }},
      {"values: 6 tokens", KVAULT_OUT_OF_RANGE,
       [](auto& c) { c.values.token_stride_bytes = kHuge / 5; }},
      {"values: 6 tokens", KVAULT_OUT_OF_RANGE,
       [](auto& c) { c.values.head_stride_bytes = kHuge; }},
      {"keys: 4294967295 tokens", KVAULT_OUT_OF_RANGE,
       [](auto& c) {
         c.keys.n_token = std::numeric_limits<std::uint32_t>::max();
         c.keys.token_stride_bytes = 1;
       }},
      {"options are NULL", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.options_given = nullptr; }},
      {"options.struct_size is 1", KVAULT_INVALID_ARGUMENT,
       [](auto& c) { c.options.struct_size = 1; }},
      {"buffers is NULL", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.buffers_given = nullptr; }},
      {"with buffers they are NULL", KVAULT_INVALID_ARGUMENT,
       [](auto& c) { c.options.out = reinterpret_cast<float*>(&c); }},
      {"q: no buffer", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.buffers.q.handle = 0; }},
      {"q: 6144 bytes at byte", KVAULT_OUT_OF_RANGE,
       [](auto& c) { c.buffers.q.offset_bytes += 1; }},
      {"out: no buffer", KVAULT_INVALID_ARGUMENT, [](auto& c) { c.buffers.out.handle = 0; }},
      {"out: 3072 bytes at byte", KVAULT_OUT_OF_RANGE,
       [](auto& c) { c.buffers.out.size_bytes = 3000; }},
      {"lse: 96 bytes at byte", KVAULT_OUT_OF_RANGE,
       [](auto& c) { c.buffers.lse.offset_bytes = kHuge - 50; }},
      {"overlap", KVAULT_INVALID_ARGUMENT,
       [](auto& c) { c.buffers.lse.offset_bytes = c.buffers.out.offset_bytes + 3071; }},
  };
  for (const Fault& fault : faults) check_fault(cache.get(), buffers, step, fault);
}

TEST_CASE("kvault_vulkan.h: a row that is not finite is refused, and the cache goes on") {
  const auto engine = Engine::open();
  if (engine == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const OwnedCache cache = test::make_lent(*engine);
  const Step step(6, 1);
  StepBuffers buffers(*engine, step);
  const kvault_vulkan_rows keys = buffers.keys();
  const kvault_vulkan_rows values = buffers.values();
  const kvault_attend_options options = step.options();
  const kvault_vulkan_attend_buffers places = buffers.attend();
  kvault_error error{};
  for (const float wrong :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    float& element = buffers.input()[StepBuffers::kMargin + 3 * 128 + 64 + 7];
    const float right = std::exchange(element, wrong);
    CHECK(kvault_vulkan_append(cache.get(), 0, &keys, &values, nullptr, &error) ==
          KVAULT_NOT_FINITE);
    CHECK(kvault_vulkan_append_attend(cache.get(), 0, &keys, &values, &options, &places, nullptr,
                                      &error) == KVAULT_NOT_FINITE);
    INFO(std::string(error.message));
    CHECK(std::string_view(error.message).find("3") != std::string_view::npos);
    CHECK(kvault_cache_n_token(cache.get()) == 0);
    CHECK(buffers.out() == std::vector<float>(step.out.size()));
    element = right;
  }
  CHECK(kvault_vulkan_append_attend(cache.get(), 0, &keys, &values, &options, &places, nullptr,
                                    &error) == KVAULT_OK);
}

TEST_CASE("kvault_vulkan.h: a cache that is on no lent device takes no buffers") {
  kvault_error error{};
  const OwnedCache cache = test::create_lent(nullptr, error);
  REQUIRE(cache != nullptr);
  const kvault_vulkan_rows rows{};
  const kvault_attend_options options = KVAULT_ATTEND_OPTIONS_INIT;
  const kvault_vulkan_attend_buffers buffers{};
  kvault_vulkan_append(cache.get(), 0, &rows, &rows, nullptr, &error);
  check_says(error, KVAULT_UNSUPPORTED, "vulkan_device");
  kvault_vulkan_attend(cache.get(), 0, &options, &buffers, nullptr, &error);
  check_says(error, KVAULT_UNSUPPORTED, "vulkan_device");
  kvault_vulkan_append(nullptr, 0, &rows, &rows, nullptr, &error);
  check_says(error, KVAULT_INVALID_ARGUMENT, "cache is NULL");
}

}  // namespace kvault::sdk

#endif
