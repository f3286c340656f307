#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "tests/support/attend_case.hpp"
#include "tests/support/attend_rows.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random.hpp"

// Attention over pages that a device encoded, of rows and queries chosen to hurt: it stays what the
// oracle makes of the same bytes.

namespace kvault {
namespace {

using test::AttendCase;
using test::Formats;
using test::Queries;
using test::Rows;

using Devices = std::vector<std::unique_ptr<Device>>;

/// The device that encodes the index-th case: each gets its turn.
Device& encoder(const Devices& devices, std::size_t index) {
  return *devices[index % devices.size()];
}

void check_on_all(const Devices& devices, std::size_t index, const AttendCase& c) {
  const oracle::AttendOutput truth = attend_by_oracle(c);
  for (const auto& device : devices) {
    if (!test::takes(*device, devices.size(), index)) continue;
    check_answer(*device, c, truth, attend_on(*device, c));
  }
}

AttendCase case_of(test::Random& random, std::uint32_t key_head_dim, std::uint32_t value_head_dim) {
  AttendCase c;
  c.n_kv_head = key_head_dim > 128 ? 1 : 2;
  c.n_head = c.n_kv_head * random.integer(1, 4);
  c.key_head_dim = key_head_dim;
  c.value_head_dim = value_head_dim;
  c.n_q = random.integer(1, 6);
  c.n_token = random.integer(1, key_head_dim > 192 ? 128 : 300);
  c.causal = random.integer(0, 1) == 1;
  c.softmax_scale = 1 / std::sqrt(static_cast<float>(key_head_dim));
  c.set_last_positions();
  return c;
}

TEST_CASE("attend: encoded keys and values of every kind, every head_dim") {
  const Devices devices = test::open_devices();
  std::size_t index = 0;
  for (const Rows keys : test::kRows) {
    for (const std::uint32_t dim : test::kHeadDims) {
      const std::uint64_t seed = 5000 + index;
      CAPTURE(seed);
      test::Random random(seed);
      AttendCase c = case_of(random, dim, index % 3 == 0 ? test::kHeadDims[index % 11] : dim);
      const Rows values = test::kRows[random.integer(0, 8)];
      fill_case(c, encoder(devices, index), random, keys, values, Queries::normal);
      check_on_all(devices, index++, c);
    }
  }
}

TEST_CASE("attend: queries of every kind over keys of every kind") {
  const Devices devices = test::open_devices();
  constexpr std::uint32_t kDims[] = {32, 48, 64, 80, 96, 112, 128};
  for (std::size_t index = 0; index < 8 * std::size(test::kRows) * std::size(test::kQueries);
       ++index) {
    const std::uint64_t seed = 6000 + index;
    CAPTURE(seed);
    test::Random random(seed);
    AttendCase c = case_of(random, kDims[random.integer(0, 6)], kDims[random.integer(0, 6)]);
    const Rows keys = test::kRows[index % std::size(test::kRows)];
    const Rows values = test::kRows[random.integer(0, 8)];
    const Queries queries = test::kQueries[index / std::size(test::kRows) % 6];
    fill_case(c, encoder(devices, index), random, keys, values, queries);
    check_on_all(devices, index, c);
  }
}

TEST_CASE("attend: a key 200 times as long as the others, which 15 bits of a query are few for") {
  const Devices devices = test::open_devices();
  std::size_t index = 0;
  for (const Scheme scheme : test::kSchemes) {
    for (const std::uint32_t dim : {32U, 64U, 128U, 192U}) {
      for (std::uint64_t seed = 100; seed < 108; ++seed) {
        CAPTURE(seed);
        test::Random random(seed);
        AttendCase c = {.n_head = 4, .n_kv_head = 1, .key_head_dim = dim, .value_head_dim = 32};
        c.n_q = 4;
        c.n_token = 256;
        c.softmax_scale = 1 / std::sqrt(static_cast<float>(dim));
        fill_case(c, encoder(devices, index), random, Rows::huge_token, Rows::normal,
                  Queries::times_4,
                  {BlockFormat::coded(scheme, seed % 2 == 0), BlockFormat::raw(RowType::f32)});
        check_on_all(devices, index++, c);
      }
    }
  }
}

TEST_CASE("attend: every format of keys with every format of values") {
  const Devices devices = test::open_devices();
  std::vector<BlockFormat> formats;
  for (const RowType type : test::kRowTypes) formats.push_back(BlockFormat::raw(type));
  for (const Scheme scheme : test::kSchemes) {
    for (const bool centred : {false, true}) formats.push_back(BlockFormat::coded(scheme, centred));
  }
  std::size_t index = 0;
  for (const BlockFormat key : formats) {
    for (const BlockFormat value : formats) {
      const std::uint64_t seed = 7000 + index;
      CAPTURE(seed);
      test::Random random(seed);
      AttendCase c = case_of(random, 64, 32);
      const Rows rows = index % 2 == 0 ? Rows::normal : Rows::offset;
      fill_case(c, encoder(devices, index), random, rows, rows, Queries::normal, {key, value});
      check_on_all(devices, index++, c);
    }
  }
}

TEST_CASE("attend: groups of 1 to 16 heads, 1 to 200 queries") {
  const Devices devices = test::open_devices();
  constexpr std::uint32_t kQueryCounts[] = {1,  2,  3,  4,   5,   7,   8,   15,
                                            16, 31, 64, 100, 127, 128, 129, 200};
  for (std::uint32_t index = 0; index < 32; ++index) {
    const std::uint64_t seed = 8000 + index;
    CAPTURE(seed);
    test::Random random(seed);
    AttendCase c = case_of(random, 32, 48);
    c.n_kv_head = random.integer(1, 3);
    const std::uint32_t group = 1 + index % 16;
    c.n_head = c.n_kv_head * group;
    c.n_q = kQueryCounts[index < 16 ? index : 31 - index];
    c.causal = true;
    c.n_token = random.integer(100, 200);
    c.set_last_positions();
    fill_case(c, encoder(devices, index), random, Rows::outlier_channels, Rows::normal,
              Queries::times_4);
    check_on_all(devices, index, c);
  }
}

/// Pages with one great weight each, of sign (-1)^page, and small ones of sign (-1)^token, which
/// are `part` of the smallest that the weights of `greatest` steps hold.
AttendCase alternating_case(Device& device, test::Random& random, std::uint32_t n_page, double part,
                            double greatest) {
  AttendCase c;
  c.n_head = c.n_kv_head = c.n_q = 1;
  c.key_head_dim = 32;
  c.n_token = std::uint64_t{n_page} * kPageTokens;
  c.softmax_scale = 1;
  c.set_last_positions();
  const std::vector<float> value = random.normals(c.value_head_dim);
  std::vector<float> keys(c.n_token * c.key_head_dim);
  std::vector<float> values;
  for (std::size_t token = 0; token < c.n_token; ++token) {
    const bool is_great = token % kPageTokens == 7;
    const bool is_negative = (is_great ? token / kPageTokens : token) % 2 == 1;
    if (is_great) {
      keys[token * c.key_head_dim] = static_cast<float>(std::log(greatest / part));
    }
    for (const float entry : value) values.push_back(is_negative ? -entry : entry);
  }
  const auto key_blocks =
      encode_side(device, random, c, Side::key, {keys}, BlockFormat::raw(RowType::f32));
  const auto value_blocks =
      encode_side(device, random, c, Side::value, {values}, BlockFormat::coded(Scheme::q8, false));
  add_pages(c, key_blocks, value_blocks);
  c.q.assign(c.key_head_dim, 0.0F);
  c.q[0] = 1;
  return c;
}

TEST_CASE("attend: many small weights of values that alternate in sign from token to token") {
  const Devices devices = test::open_devices();
  for (const std::uint32_t n_page : {1U, 2U, 16U}) {
    for (const double greatest : {32767.0, 65535.0}) {
      for (const double part : {0.2, 0.45, 0.8}) {
        test::Random random(9000);
        CAPTURE(n_page);
        CAPTURE(part);
        check_on_all(devices, 0, alternating_case(*devices[0], random, n_page, part, greatest));
      }
    }
  }
}

}  // namespace
}  // namespace kvault
