#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "core/layout/block_layout.hpp"
#include "gpu_cuda/attend_plan.hpp"
#include "gpu_cuda/cuda_device.hpp"
#include "tests/support/attend_case.hpp"
#include "tests/support/attend_rows.hpp"
#include "tests/support/random.hpp"
#include "tests/support/skip.hpp"

// Many rows at once, by the kernels of attend_prefill.cu: what the oracle attends, the same bits
// every time, and whoever the neighbours are.

namespace kvault::cuda {
namespace {

using test::AttendAnswer;
using test::AttendCase;
using test::Formats;
using test::Queries;
using test::Rows;

std::unique_ptr<Device> open_or_null() {
  Result<std::unique_ptr<Device>> device = open_device(DeviceOptions{});
  if (!device) REQUIRE(device.error().code == Errc::device_absent);
  return device ? std::move(*device) : nullptr;
}

/// Items that the device has for the kernels of many rows, and for the others of coded pages.
struct Items {
  std::size_t n_prefill = 0;
  std::size_t n_other = 0;
};

Items items_of(const AttendCase& c) {
  AttendSequence sequence;
  sequence.n_q = c.n_q;
  sequence.pages = c.refs;
  sequence.first_page = c.first_page;
  sequence.n_token = c.n_token;
  AttendArgs args;
  args.n_head = c.n_head;
  args.n_kv_head = c.n_kv_head;
  args.key_head_dim = c.key_head_dim;
  args.value_head_dim = c.value_head_dim;
  args.sequences = {&sequence, 1};
  const std::uint32_t n_tile = prefill_tiles_of(c.key_head_dim, c.value_head_dim);
  Items items;
  for (const AttendWave& wave :
       plan_attend(args, {.uses_tensor_cores = true, .n_prefill_tile = n_tile})) {
    items.n_prefill += wave.prefill.size();
    items.n_other += wave.narrow.size() + wave.wide.size();
  }
  return items;
}

/// pre: coded pages, and as many rows as attend_prefill.cu takes
void check_prefill(Device& device, const AttendCase& c) {
  const Items items = items_of(c);
  CHECK(items.n_prefill > 0);
  CHECK(items.n_other == 0);
  const AttendAnswer answer = attend_on(device, c);
  check_answer(device, c, attend_by_oracle(c), answer);
  CHECK(answer.same_bits(attend_on(device, c)));
}

AttendCase case_of(std::uint32_t n_q, std::uint32_t group, std::uint32_t head_dim) {
  AttendCase c;
  c.n_kv_head = 1;
  c.n_head = group;
  c.key_head_dim = c.value_head_dim = head_dim;
  c.n_q = n_q;
  c.n_token = 300;
  c.causal = true;
  c.softmax_scale = 1 / std::sqrt(static_cast<float>(head_dim));
  return c;
}

void fill(AttendCase& c, Device& device, test::Random& random, const Formats& formats = {},
          Queries queries = Queries::times_4) {
  c.set_last_positions();
  fill_case(c, device, random, Rows::outlier_channels, Rows::normal, queries, formats);
}

TEST_CASE("cuda prefill: every scheme of keys with every scheme of values, centred or not") {
  const std::unique_ptr<Device> device = open_or_null();
  if (device == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  std::uint64_t seed = 100;
  for (const Scheme key : test::kSchemes) {
    for (const Scheme value : test::kSchemes) {
      CAPTURE(seed);
      test::Random random(seed++);
      AttendCase c = case_of(33, 1, seed % 2 == 0 ? 64 : 128);
      const bool is_centred = seed % 4 < 2;
      fill(c, *device, random,
           {BlockFormat::coded(key, is_centred), BlockFormat::coded(value, !is_centred)});
      check_prefill(*device, c);
    }
  }
}

TEST_CASE("cuda prefill: every head_dim, groups of heads, counts of queries, raw pages between") {
  const std::unique_ptr<Device> device = open_or_null();
  if (device == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  struct Shape {
    std::uint32_t key_head_dim;
    std::uint32_t value_head_dim;
  };
  std::uint64_t seed = 200;
  for (const Shape shape : {Shape{64, 64}, Shape{96, 96}, Shape{128, 128}, Shape{48, 64},
                            Shape{80, 96}, Shape{192, 128}, Shape{192, 192}, Shape{256, 256}}) {
    for (const auto& [n_q, group] : {std::pair{33U, 1U}, {64U, 4U}, {100U, 8U}, {9U, 4U}}) {
      if (shape.key_head_dim > 128 && n_q == 100) continue;
      CAPTURE(seed);
      test::Random random(seed++);
      AttendCase c = case_of(n_q, group, shape.key_head_dim);
      c.value_head_dim = shape.value_head_dim;
      c.n_kv_head = seed % 3 == 0 ? 2 : 1;
      c.n_head = group * c.n_kv_head;
      c.n_token = 128U * (seed % 4) + 130 + seed % 100;
      fill(c, *device, random);
      if (items_of(c).n_prefill == 0) continue;  // no page of both coded keys and values
      check_prefill(*device, c);
    }
  }
}

TEST_CASE("cuda prefill: masks, windows, softcap, queries before the pages and past them") {
  const std::unique_ptr<Device> device = open_or_null();
  if (device == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  const Formats formats = {BlockFormat::coded(Scheme::tq4, true),
                           BlockFormat::coded(Scheme::tq3, true)};
  test::Random random(300);
  AttendCase c = case_of(70, 1, 64);
  c.n_token = 420;
  c.first_page = 1;
  fill(c, *device, random, formats);
  check_prefill(*device, c);
  c.window = 100;
  check_prefill(*device, c);
  c.causal = false;
  check_prefill(*device, c);
  c.softcap = 5;
  check_prefill(*device, c);
  c.causal = true;
  c.first_q_position = 100;
  check_prefill(*device, c);
  c.window = 0;
  for (std::size_t i = 0; i < c.n_q * c.n_token; ++i) {
    c.mask.push_back(random.integer(0, 3) == 0 ? 1 : 0);
  }
  std::fill_n(c.mask.begin() + std::ptrdiff_t{5} * 420, 420, std::uint8_t{0});
  check_prefill(*device, c);
  c.causal = false;
  c.softcap = 0;
  check_prefill(*device, c);
}

TEST_CASE("cuda prefill: keys, values and queries that hurt") {
  const std::unique_ptr<Device> device = open_or_null();
  if (device == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  std::uint64_t seed = 400;
  for (const Rows keys : test::kRows) {
    for (const Queries queries : test::kQueries) {
      CAPTURE(seed);
      test::Random random(seed);
      AttendCase c = case_of(17, 2, 64);
      c.n_token = 270;
      c.causal = seed % 2 == 0;
      c.set_last_positions();
      const Rows values = test::kRows[random.integer(0, 8)];
      const Formats formats = {
          BlockFormat::coded(test::kSchemes[seed % 4], random.integer(0, 1) == 1),
          BlockFormat::coded(test::kSchemes[seed / 4 % 4], random.integer(0, 1) == 1)};
      ++seed;
      fill_case(c, *device, random, keys, values, queries, formats);
      if (items_of(c).n_prefill == 0) continue;  // blocks that fit no scheme are raw
      check_prefill(*device, c);
    }
  }
}

TEST_CASE("cuda prefill: scales past the valid length do not raise what weights count from") {
  const std::unique_ptr<Device> device = open_or_null();
  if (device == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  constexpr std::uint16_t kScales[] = {0x7BFF, 0x7C00, 0x7E00, 0xFBFF};
  for (std::size_t i = 0; i < 4; ++i) {
    CAPTURE(i);
    test::Random random(450 + i);
    AttendCase c = case_of(64, 1, 64);
    c.causal = false;
    fill_case(c, *device, random, Rows::normal, Rows::normal, Queries::normal,
              {BlockFormat::coded(Scheme::q8, false), BlockFormat::coded(Scheme::tq4, true)});
    const AttendAnswer clean = attend_on(*device, c);
    const BlockRef& last = c.refs.back().value;
    const BlockLayout layout = BlockLayout::of(last.format, c.value_head_dim);
    for (std::uint64_t token = c.n_token % kPageTokens; token < kPageTokens; ++token) {
      std::memcpy(c.block(last, c.value_head_dim).data() + layout.scale_offset_bytes + token * 2,
                  &kScales[i], 2);
    }
    check_prefill(*device, c);
    CHECK(clean.same_bits(attend_on(*device, c)));
  }
}

TEST_CASE("cuda prefill: bits do not depend on the other sequences of a call") {
  const std::unique_ptr<Device> device = open_or_null();
  if (device == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  std::vector<AttendCase> cases;
  std::uint64_t seed = 500;
  for (const auto& [n_q, n_token] :
       {std::pair{40U, 300U}, {1U, 700U}, {70U, 150U}, {200U, 1400U}}) {
    test::Random random(seed++);
    AttendCase c = case_of(n_q, 1, 64);
    c.n_token = n_token;
    fill(c, *device, random);
    cases.push_back(std::move(c));
  }
  std::vector<AttendAnswer> alone;
  alone.reserve(cases.size());
  for (const AttendCase& c : cases) alone.push_back(attend_on(*device, c));
  const std::vector<AttendAnswer> together = test::attend_together(*device, cases);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    CHECK(together[i].same_bits(alone[i]));
  }
}

TEST_CASE("cuda prefill: a row's bits do not depend on the rows beside it") {
  const std::unique_ptr<Device> device = open_or_null();
  if (device == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  test::Random random(600);
  AttendCase c = case_of(100, 1, 64);
  c.n_token = 400;
  fill(c, *device, random);
  const AttendAnswer whole = attend_on(*device, c);
  AttendAnswer parts;
  for (const std::uint32_t n : {33U, 35U, 32U}) {
    const std::uint32_t first = static_cast<std::uint32_t>(parts.lse.size());
    parts.append(attend_on(*device, c.part(first, n)));
  }
  CHECK(whole.same_bits(parts));
}

TEST_CASE("cuda prefill: values may be left out, by a bounded share, and are all kept here") {
  const std::unique_ptr<Device> device = open_or_null();
  if (device == nullptr) KVAULT_TEST_SKIP("no CUDA driver");
  test::Random random(700);
  AttendCase c = case_of(40, 1, 64);
  c.n_token = 512;
  fill(c, *device, random,
       {BlockFormat::coded(Scheme::tq4, true), BlockFormat::coded(Scheme::tq4, true)});
  const AttendAnswer whole = attend_on(*device, c);
  CHECK(whole.same_bits(test::attend_together(*device, {&c, 1}, {0.9F, 0})[0]));
}

}  // namespace
}  // namespace kvault::cuda
