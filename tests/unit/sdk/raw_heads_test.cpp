#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "kvault/kvault.hpp"
#include "tests/support/random.hpp"

using namespace kvault::sdk;
using kvault::test::Random;

namespace {

TEST_CASE("Raw layers keep heads of any size verbatim, and do not attend them") {
  Random random(4);
  for (const std::uint32_t dim : {1U, 9U, 33U, 500U}) {
    CAPTURE(dim);
    const kvault_layer layer{KVAULT_FULL_ATTENTION, 2, 2, dim, dim + 3, 0, KVAULT_RAW, KVAULT_RAW};
    auto cache = Cache::create({.layers = std::span(&layer, 1), .row_type = KVAULT_F32});
    REQUIRE(cache.is_ok());
    constexpr std::uint32_t kTokens = 700;  // pages are sealed behind them
    const std::vector<float> keys = random.normals(std::size_t{kTokens} * 2 * dim);
    const std::vector<float> values = random.normals(std::size_t{kTokens} * 2 * (dim + 3));
    REQUIRE(
        cache.value()
            ->append(0, {.data = keys, .n_token = kTokens}, {.data = values, .n_token = kTokens})
            .is_ok());
    std::vector<float> read(values.size());
    REQUIRE(cache.value()
                ->read_rows(0, {.side = KVAULT_VALUE, .n_token = kTokens},
                            std::as_writable_bytes(std::span(read)))
                .is_ok());
    CHECK(read == values);
    std::vector<float> part(std::size_t{300} * 2 * dim);
    REQUIRE(cache.value()
                ->read_rows(0, {.side = KVAULT_KEY, .first_token = 77, .n_token = 300},
                            std::as_writable_bytes(std::span(part)))
                .is_ok());
    const auto* const first = keys.data() + std::size_t{77} * 2 * dim;
    CHECK(part == std::vector<float>(first, first + part.size()));

    std::vector<float> q(std::size_t{2} * dim, 1.0F);
    std::vector<float> out(std::size_t{2} * (dim + 3));
    const auto attended = cache.value()->attend(0, {.n_q = 1, .q = q, .out = out});
    REQUIRE_FALSE(attended.is_ok());
    CHECK(attended.status() == KVAULT_UNSUPPORTED);
  }
  const kvault_layer coded{KVAULT_FULL_ATTENTION, 2, 2, 9, 64, 0, KVAULT_TQ4, KVAULT_RAW};
  CHECK(Cache::create({.layers = std::span(&coded, 1)}).status() == KVAULT_UNSUPPORTED);
  const kvault_layer wide{KVAULT_FULL_ATTENTION, 2, 2, 513, 64, 0, KVAULT_RAW, KVAULT_RAW};
  CHECK(Cache::create({.layers = std::span(&wide, 1)}).status() == KVAULT_UNSUPPORTED);
}

}  // namespace
