#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "tests/support/attend_case.hpp"
#include "tests/support/attend_rows.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random.hpp"

// Instruction sets that differ in how they make the same sums, and what they leave behind.

namespace kvault {
namespace {

using test::AttendCase;

/// The cpu with one thread, the caller's; null where this machine has no such set.
std::unique_ptr<Device> open_cpu(std::string_view instruction_set) {
  for (const BackendEntry& entry : backends()) {
    if (entry.name != "cpu") continue;
    auto device = entry.open({.n_thread = 1, .instruction_set = instruction_set});
    if (device) return std::move(*device);
    const Errc code = device.error().code;
    REQUIRE((code == Errc::device_absent || code == Errc::unsupported));
    MESSAGE("skipped: ", device.error().message);
  }
  return nullptr;
}

AttendCase filled(std::uint64_t seed, Device& encoder, AttendCase c) {
  test::Random random(seed);
  c.set_last_positions();
  fill_case(c, encoder, random, test::Rows::outlier_channels, test::Rows::normal,
            test::Queries::times_4);
  return c;
}

}  // namespace

TEST_CASE("instruction sets that make the same sums give the same bits") {
  constexpr std::array<std::array<std::string_view, 2>, 2> kPairs = {
      {{"amx", "avx512"}, {"avx_vnni", "avx2"}}};
  for (const auto& [name, like] : kPairs) {
    CAPTURE(name);
    const std::unique_ptr<Device> device = open_cpu(name);
    const std::unique_ptr<Device> other = open_cpu(like);
    if (device == nullptr || other == nullptr) continue;
    std::uint64_t seed = 4711;
    for (const std::uint32_t head_dim : {32U, 64U, 80U, 96U, 128U, 256U, 512U}) {
      for (const std::uint32_t n_q : {1U, 3U, 9U, 23U}) {
        CAPTURE(head_dim);
        CAPTURE(n_q);
        const AttendCase c = filled(seed++, *other,
                                    {.n_head = 6,
                                     .n_kv_head = 2,
                                     .key_head_dim = head_dim,
                                     .value_head_dim = head_dim,
                                     .n_q = n_q,
                                     .n_token = 700,
                                     .causal = true});
        CHECK(attend_on(*other, c).same_bits(attend_on(*device, c)));
      }
    }
  }
}

#ifdef __x86_64__
TEST_CASE("amx: the shapes that a caller gave its tiles are there afterwards") {
  const std::unique_ptr<Device> device = open_cpu("amx");
  if (device == nullptr) return;
  const AttendCase c = filled(4712, *device, {.n_head = 4, .n_kv_head = 2, .n_token = 300});
  const test::AttendAnswer expected = attend_on(*device, c);
  struct alignas(64) Shapes {
    std::array<std::uint8_t, 64> bytes{};
  };
  Shapes before;
  before.bytes[0] = 1;            // palette
  before.bytes[16 + 2 * 3] = 20;  // bytes of a row of tile 3
  before.bytes[48 + 3] = 7;       // its rows
  asm volatile("ldtilecfg %0" ::"m"(before));
  const test::AttendAnswer answer = attend_on(*device, c);
  Shapes after;
  asm volatile("sttilecfg %0" : "=m"(after));
  asm volatile("tilerelease");
  CHECK(after.bytes == before.bytes);
  CHECK(answer.same_bits(expected));
}
#endif

}  // namespace kvault
