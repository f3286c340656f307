#include "tools/bench/round_robin.hpp"

#include <doctest/doctest.h>

#include <string>

#include "core/layout/block_layout.hpp"
#include "tools/bench/layer_set.hpp"

namespace kvault::tools {
namespace {

/// Writes down when it is visited, and takes 1, 2, 3 ... us.
class Noted final : public Variant {
 public:
  Noted(char name, std::string& visits) : name_(name), visits_(visits) {}
  Result<double> visit_us() override {
    visits_ += name_;
    return static_cast<double>(++n_visit_);
  }

 private:
  char name_;
  std::string& visits_;
  int n_visit_ = 0;
};

TEST_CASE("round robin: every round visits all in turn, the first does not count") {
  std::string visits;
  Noted a('a', visits);
  Noted b('b', visits);
  Variant* const variants[] = {&a, &b};
  const auto samples = measure_in_turn(variants, {.n_repetition = 3}, "test");
  REQUIRE(samples);
  CHECK(visits == "abababab");
  REQUIRE(samples->size() == 2);
  CHECK((*samples)[0].times_us == std::vector<double>{2, 3, 4});
  CHECK((*samples)[1].median_us() == 3);
  CHECK((*samples)[1].min_us() == 2);
}

TEST_CASE("round robin: without a number of rounds there are five at least") {
  std::string visits;
  Noted a('a', visits);
  Variant* const variants[] = {&a};
  const auto samples = measure_in_turn(variants, {.n_repetition = 0, .min_time_s = 0}, "test");
  REQUIRE(samples);
  CHECK(samples->front().times_us.size() == 5);
  const auto longer = measure_in_turn(variants, {.n_repetition = 0, .min_time_s = 0.002}, "test");
  REQUIRE(longer);
  CHECK(longer->front().times_us.size() > 5);
}

TEST_CASE("round robin: the median of an even number is the mean of the middle two") {
  CHECK(Samples{{4, 1, 3, 2}}.median_us() == 2.5);
  CHECK(Samples{{}}.median_us() == 0);
  CHECK(Samples{{7}}.median_us() == 7);
}

TEST_CASE(
    "layer set: a page's keys, then its values, pages at pages of memory, layers to the set") {
  const BenchShape shape = {.n_head = 4, .n_kv_head = 2, .head_dim = 64, .n_token = 300};
  const LayerSet set(*find_preset("k4v3"), shape, 1U << 20U);
  CHECK(set.size_bytes() >= 1U << 20U);
  CHECK(set.size_bytes() == set.n_layer() * set.layer(0).size());
  CHECK(reinterpret_cast<std::uintptr_t>(set.layer(1).data()) % 4096 == 0);
  REQUIRE(set.pages().size() == 6);
  for (std::size_t i = 0; i < 6; i += 2) {
    CHECK(set.pages()[i].key.offset_bytes % 4096 == 0);
    std::uint64_t end = set.pages()[i].key.offset_bytes;
    const PageRef& first = set.pages()[i];
    const PageRef& second = set.pages()[i + 1];
    for (const BlockRef& ref : {first.key, second.key, first.value, second.value}) {
      CHECK(ref.offset_bytes == end);
      end += BlockLayout::of(ref.format, 64).size_bytes;
    }
    CHECK(second.key.format == BlockFormat::coded(Scheme::tq4, true));
    CHECK(second.value.format == BlockFormat::coded(Scheme::tq3, false));
    CHECK(end <= set.layer(0).size());
  }
}

}  // namespace
}  // namespace kvault::tools
