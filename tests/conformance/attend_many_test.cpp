#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "tests/support/attend_case.hpp"
#include "tests/support/attend_rows.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random.hpp"

// Attention of few, of some and of many queries over the same kinds of pages: devices have kernels
// for each.

namespace kvault {
namespace {

using test::AttendAnswer;
using test::AttendCase;
using test::Queries;
using test::Rows;

TEST_CASE("attend: few rows and many, every scheme of keys with every scheme of values") {
  const std::vector<std::unique_ptr<Device>> devices = test::open_devices();
  std::uint64_t seed = 9500;
  for (const Scheme key : test::kSchemes) {
    for (const Scheme value : test::kSchemes) {
      for (const std::uint32_t n_q : {1U, 2U, 33U}) {
        CAPTURE(seed);
        test::Random random(seed);
        AttendCase c = {.n_head = 4, .n_kv_head = 1, .n_q = n_q, .n_token = 200, .causal = true};
        c.key_head_dim = c.value_head_dim = seed % 2 == 0 ? 64 : 128;
        c.set_last_positions();
        const std::size_t index = seed++;
        fill_case(c, *devices[index % devices.size()], random, Rows::outlier_channels, Rows::normal,
                  Queries::times_4,
                  {BlockFormat::coded(key, index % 4 < 2), BlockFormat::coded(value, n_q > 1)});
        const oracle::AttendOutput truth = attend_by_oracle(c);
        for (const auto& device : devices) {
          if (!test::takes(*device, devices.size(), index)) continue;
          const AttendAnswer answer = attend_on(*device, c);
          check_answer(*device, c, truth, answer);
          CHECK(answer.same_bits(attend_on(*device, c)));
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvault
