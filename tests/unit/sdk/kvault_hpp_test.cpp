#include "kvault/kvault.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string_view>
#include <type_traits>

// The C++ header over the C interface: owners, checked spans, results.

namespace kvault::sdk {
namespace {

static_assert(!std::is_copy_constructible_v<Cache> && std::is_move_constructible_v<Cache>);
static_assert(!std::is_copy_constructible_v<Client> && std::is_move_constructible_v<Client>);
static_assert(!std::is_copy_constructible_v<Session> && std::is_move_constructible_v<Session>);
static_assert(!std::is_convertible_v<Outcome<int>, bool>);
static_assert(!std::is_constructible_v<bool, Outcome<>>);

constexpr kvault_layer kLayer = {KVAULT_FULL_ATTENTION, 4, 2, 32, 64, 0, KVAULT_TQ4, KVAULT_TQ4};

Cache make_cache() {
  auto cache = Cache::create({.layers = {&kLayer, 1}, .row_type = KVAULT_F32, .n_thread = 1});
  REQUIRE(cache.is_ok());
  return std::move(cache).value();
}

/// Rows [n_token, 2, dim] that say which they are.
std::vector<float> make_rows(std::uint32_t n_token, std::uint32_t dim) {
  std::vector<float> rows(std::size_t{n_token} * 2 * dim);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = std::sin(static_cast<float>(i) * 0.37F);
  }
  return rows;
}

bool says(const Error& error, kvault_status status, std::string_view part) {
  INFO(error.message);
  CHECK(error.status == status);
  return std::string_view(error.message).find(part) != std::string_view::npos;
}

}  // namespace

TEST_CASE("short: kvault.hpp: rows go in, attention and rows come out") {
  Cache cache = make_cache();
  const std::vector<float> keys = make_rows(300, 32);
  const std::vector<float> values = make_rows(300, 64);
  const Rows k = {.data = keys, .n_token = 300};
  REQUIRE(cache->append(0, k, {.data = values, .n_token = 300}).is_ok());
  CHECK(cache->n_token() == 300);

  std::vector<float> q(4 * 32, 0.0F);
  std::vector<float> out(4 * 64);
  std::vector<float> lse(4);
  REQUIRE(cache->attend(0, {.n_q = 1, .q = q, .out = out, .lse = lse}).is_ok());
  CHECK(lse[0] == doctest::Approx(std::log(300.0)));  // q = 0: every key alike

  std::vector<float> tail(10 * 2 * 64);
  const ReadOptions newest = {.side = KVAULT_VALUE, .first_token = 290, .n_token = 10};
  REQUIRE(cache->read_rows(0, newest, std::as_writable_bytes(std::span(tail))).is_ok());
  CHECK(std::memcmp(tail.data(), &values[290 * 2 * 64], tail.size() * 4) == 0);

  const auto block = cache->read_block(0, {.side = KVAULT_KEY, .page = 0, .kv_head = 1});
  REQUIRE(block.is_ok());
  CHECK(block->format == KVAULT_F32);
  CHECK(block->bytes.size() == 128 * 32 * 4);
  CHECK(cache->stats().value().n_token == 300);
}

TEST_CASE("short: kvault.hpp: spans of the wrong size never reach the C interface") {
  Cache cache = make_cache();
  const std::vector<float> keys = make_rows(3, 32);
  const std::vector<float> values = make_rows(3, 64);
  const auto append = [&](const Rows& k, const Rows& v) { return cache->append(0, k, v); };
  CHECK(says(append({.data = keys, .n_token = 4}, {.data = values, .n_token = 3}).error(),
             KVAULT_SHAPE_MISMATCH, "keys of 4 tokens have 768 bytes, not 1024"));
  CHECK(says(append({.data = keys, .n_token = 3}, {.data = keys, .n_token = 3}).error(),
             KVAULT_SHAPE_MISMATCH, "values of 3 tokens have 768 bytes, not 1536"));
  CHECK(says(cache->append(1, {.data = keys, .n_token = 3}, {.data = values, .n_token = 3}).error(),
             KVAULT_OUT_OF_RANGE, "layer 1 of 1"));
  REQUIRE(append({.data = keys, .n_token = 3}, {.data = values, .n_token = 3}).is_ok());

  std::vector<float> q(2 * 4 * 32);
  std::vector<float> out(2 * 4 * 64);
  std::vector<std::uint8_t> mask(2 * 3, 1);
  AttendOptions options = {.n_q = 2, .q = q, .out = out, .mask = mask, .mask_stride = 3};
  CHECK(cache->attend(0, options).is_ok());
  options.q = std::span(q).first(255);
  CHECK(says(cache->attend(0, options).error(), KVAULT_SHAPE_MISMATCH, "255"));
  options.q = q;
  options.out = std::span(out).first(511);
  CHECK(says(cache->attend(0, options).error(), KVAULT_SHAPE_MISMATCH, "511"));
  options.out = out;
  options.lse = std::span(out).first(7);
  CHECK(says(cache->attend(0, options).error(), KVAULT_SHAPE_MISMATCH, "7 entries, not 8"));
  options.lse = {};
  options.mask = std::span(mask).first(5);
  CHECK(says(cache->attend(0, options).error(), KVAULT_SHAPE_MISMATCH, "5 entries, not 2 x 3"));
  options.mask_stride = 0;
  CHECK_FALSE(cache->attend(0, options).is_ok());
}

TEST_CASE("short: kvault.hpp: errors carry status and sentence") {
  CHECK(says(find_preset("k5v5").error(), KVAULT_INVALID_ARGUMENT, "k5v5"));
  CHECK(find_preset("k4v3").value().value == KVAULT_TQ3);
  CHECK(name_of(KVAULT_SHAPE_MISMATCH) == "shape_mismatch");
  const std::vector<std::uint16_t> ones(63, 0x3C00);
  const auto cache =
      Cache::create({.layers = {&kLayer, 1}, .equalise = KVAULT_EQUALISE_GIVEN, .equaliser = ones});
  CHECK(cache.status() == KVAULT_SHAPE_MISMATCH);
  CHECK(says(cache.error(), KVAULT_SHAPE_MISMATCH, "63 entries, not 64"));
  CHECK(device_names().at(0) == "cpu");
}

TEST_CASE("short: kvault.hpp: a fork lives on its own, owners move") {
  Cache cache = make_cache();
  const std::vector<float> keys = make_rows(100, 32);
  const std::vector<float> values = make_rows(100, 64);
  REQUIRE(
      cache->append(0, {.data = keys, .n_token = 100}, {.data = values, .n_token = 100}).is_ok());
  kvault_kept kept{};
  auto fork = cache->fork(60, &kept);
  REQUIRE(fork.is_ok());
  CHECK(kept.n_token == 60);
  Cache second = std::move(fork).value();
  cache = make_cache();  // the first one is gone
  CHECK(second->n_token() == 60);
  CHECK(cache->n_token() == 0);
  CHECK(second->rollback(10).value().n_token == 10);
  CHECK(second->shape().layers.size() == 1);
}

}  // namespace kvault::sdk
