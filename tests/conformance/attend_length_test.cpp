#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "tests/support/attend_case.hpp"
#include "tests/support/attend_rows.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random.hpp"

// Long contexts: around the 2048 tokens at which a device may split its work, with tables that do
// not begin at page 0, windows and masks that hide whole splits.

namespace kvault {
namespace {

using test::AttendCase;
using Devices = std::vector<std::unique_ptr<Device>>;

constexpr std::uint64_t kSplitTokens = 2048;

AttendCase long_case(test::Random& random, Device& encoder, AttendCase c) {
  c.n_head = c.n_kv_head = 1;
  c.key_head_dim = 32;
  c.value_head_dim = 48;
  c.set_last_positions();
  fill_case(c, encoder, random, test::Rows::normal, test::Rows::outlier_channels,
            test::Queries::times_4);
  return c;
}

void check_on_all(const Devices& devices, std::size_t index, const AttendCase& c) {
  const oracle::AttendOutput truth = attend_by_oracle(c);
  for (const auto& device : devices) {
    if (!test::takes(*device, devices.size(), index)) continue;
    const test::AttendAnswer answer = attend_on(*device, c);
    check_answer(*device, c, truth, answer);
    CHECK(answer.same_bits(attend_on(*device, c)));
  }
}

TEST_CASE("attend: lengths around the boundaries of splits, from page 0 and from page 5") {
  const Devices devices = test::open_devices();
  std::size_t index = 0;
  for (const std::uint64_t first_page : {0U, 5U}) {
    for (const std::uint64_t n_token : {2047U, 2048U, 2049U, 4096U, 4097U, 6200U}) {
      test::Random random(100 + index);
      const AttendCase c = long_case(random, *devices[index % devices.size()],
                                     {.n_q = 3, .n_token = n_token, .first_page = first_page});
      check_on_all(devices, index++, c);
    }
  }
}

TEST_CASE("attend: first_page on, before and behind a boundary of splits") {
  const Devices devices = test::open_devices();
  std::size_t index = 0;
  for (const std::uint64_t first_page : {15U, 16U, 17U, 31U, 1000U}) {
    test::Random random(200 + index);
    const AttendCase c =
        long_case(random, *devices[index % devices.size()],
                  {.n_q = 2, .n_token = first_page * kPageTokens + 2200, .first_page = first_page});
    check_on_all(devices, index++, c);
  }
}

TEST_CASE("attend: windows that cross boundaries, and queries from before the table to its end") {
  const Devices devices = test::open_devices();
  std::size_t index = 0;
  for (const std::uint32_t window : {1U, 127U, 128U, 2047U, 2048U, 2049U, 5000U}) {
    test::Random random(300 + index);
    AttendCase c = long_case(random, *devices[index % devices.size()],
                             {.n_q = 40, .n_token = 4200, .first_page = 5, .causal = true});
    c.window = window;
    for (const std::int64_t position : {4160, 4080, 2030, 630, 600, 590}) {
      c.first_q_position = position;
      check_on_all(devices, index, c);
    }
    c.causal = false;  // a window alone bounds only the past
    check_on_all(devices, index++, c);
  }
}

/// Visible: what `sees` says, of a query and a position.
template <class Sees>
void set_mask(AttendCase& c, const Sees& sees) {
  c.mask.assign(c.n_q * c.n_token, 0);
  for (std::size_t query = 0; query < c.n_q; ++query) {
    for (std::size_t position = 0; position < c.n_token; ++position) {
      // Any byte but 0 is visible.
      const auto visible = static_cast<std::uint8_t>(1 + position % 255);
      if (sees(query, position)) c.mask[query * c.n_token + position] = visible;
    }
  }
}

TEST_CASE("attend: masks that hide whole pages, whole splits and whole rows") {
  const Devices devices = test::open_devices();
  for (const std::uint64_t first_page : {0U, 5U}) {
    test::Random random(400 + first_page);
    AttendCase c =
        long_case(random, *devices[0], {.n_q = 6, .n_token = 4300, .first_page = first_page});
    const auto split_of = [](std::size_t position) { return position / kSplitTokens; };
    set_mask(c, [&](std::size_t q, std::size_t p) { return split_of(p) == q % 3; });
    check_on_all(devices, 0, c);
    set_mask(c, [&](std::size_t q, std::size_t p) { return split_of(p) != q % 3; });
    check_on_all(devices, 0, c);
    set_mask(c, [&](std::size_t q, std::size_t p) { return p / kPageTokens % 3 == q % 3; });
    check_on_all(devices, 0, c);
    set_mask(c, [&](std::size_t q, std::size_t p) { return p == q * 800 + 127; });
    check_on_all(devices, 0, c);
    set_mask(c, [&](std::size_t q, std::size_t p) { return q % 2 == 0 && p % 7 == q; });
    check_on_all(devices, 0, c);
    c.causal = true;
    c.window = 2500;
    check_on_all(devices, 0, c);
  }
}

TEST_CASE("attend: rows that see nothing of a long context are zeros with LSE -infinity") {
  for (const auto& device : test::open_devices()) {
    test::Random random(500);
    AttendCase c = long_case(random, *device, {.n_q = 2, .n_token = 4200, .first_page = 3});
    set_mask(c, [](std::size_t query, std::size_t) { return query == 1; });
    const test::AttendAnswer answer = attend_on(*device, c);
    CHECK(std::all_of(answer.out.begin(), answer.out.begin() + c.value_head_dim,
                      [](float entry) { return entry == 0; }));
    CHECK(answer.lse[0] == -std::numeric_limits<float>::infinity());
    CHECK(answer.lse[1] > -100);
  }
}

}  // namespace
}  // namespace kvault
