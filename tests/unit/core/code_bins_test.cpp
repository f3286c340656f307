#include "core/cpu/code_bins.hpp"

#include <doctest/doctest.h>

#include <cstdlib>

#include "core/codec/codebook.hpp"

namespace kvault::cpu {
namespace {

TEST_CASE("code bins: equal to the plain search for every byte") {
  for (const Scheme scheme : {Scheme::tq4, Scheme::tq3, Scheme::tq2}) {
    const CodeBins bins = CodeBins::of(scheme);
    const auto levels = Codebook::of(scheme).levels;
    for (std::uint32_t x = 0; x < 256; ++x) {
      const std::uint32_t bin = x / 16;
      const std::size_t code = std::size_t{bins.code_at[bin]} + (x > bins.first[bin] ? 1 : 0) +
                               (bins.has_second && x > bins.second[bin] ? 1 : 0);
      // x is floor(2 u): of two codes as near to u = x / 2 the higher one.
      std::size_t nearest = 0;
      for (std::size_t i = 1; i < levels.size(); ++i) {
        const auto distance = [&](std::size_t j) {
          return std::abs(2 * static_cast<int>(levels[j]) - static_cast<int>(x));
        };
        if (distance(i) <= distance(nearest)) nearest = i;
      }
      CHECK(code == nearest);
    }
  }
}

}  // namespace
}  // namespace kvault::cpu
