#include <doctest/doctest.h>

#include "tools/bench/calibrate_sparse.hpp"

namespace kvault::tools {
namespace {

TEST_CASE("sparse calibration: shares and ratios follow from three times") {
  const SparseTimes at = {.n_token = 4096, .whole_us = 100, .none_us = 110, .all_us = 60};
  CHECK(at.ratio_at(0) == doctest::Approx(1.1));
  CHECK(at.ratio_at(1) == doctest::Approx(0.6));
  CHECK(at.ratio_at(0.5) == doctest::Approx(0.85));
  CHECK(at.break_even_share() == doctest::Approx(0.2));
  const SparseTimes useless = {.n_token = 1024, .whole_us = 100, .none_us = 130, .all_us = 140};
  CHECK(useless.break_even_share() > 1);
}

TEST_CASE("sparse calibration: the least length is one from which on all pay") {
  const auto times = [](std::uint64_t n_token, double none_us, double all_us) {
    return SparseTimes{n_token, 100, none_us, all_us};
  };
  CHECK(!least_paying_length({}));
  CHECK(!least_paying_length({times(1024, 120, 90)}));
  CHECK(least_paying_length({times(1024, 120, 90), times(2048, 105, 60)}) == 2048U);
  CHECK(!least_paying_length({times(1024, 105, 60), times(2048, 130, 60)}));
  CHECK(least_paying_length({times(1024, 105, 60), times(2048, 130, 60), times(4096, 101, 60)}) ==
        4096U);
}

}  // namespace
}  // namespace kvault::tools
