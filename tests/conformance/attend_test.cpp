#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/layout/block_layout.hpp"
#include "tests/support/attend_case.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random.hpp"

// What every device must do with queries: attend over raw and coded pages, mixed, as the oracle
// does on the same bytes.

namespace kvault {
namespace {

using test::AttendAnswer;
using test::AttendCase;

/// Bytes that mean something: raw rows, or random codes with sane scales.
std::vector<std::byte> random_block(test::Random& random, BlockFormat format,
                                    std::uint32_t head_dim) {
  const BlockLayout layout = BlockLayout::of(format, head_dim);
  std::vector<std::byte> block(layout.size_bytes);
  if (format.is_raw()) {
    const std::vector<std::byte> rows =
        test::to_bytes(random.normals(std::size_t{kPageTokens} * head_dim), format.row_type());
    std::copy(rows.begin(), rows.end(), block.begin());
    return block;
  }
  for (std::uint64_t i = 0; i < layout.codes_size_bytes; ++i) {
    const std::uint64_t byte = random.next() & 0xFFU;
    // -128 is no code of q8; any other byte is a row of codes in every scheme.
    block[i] = static_cast<std::byte>(byte == 0x80 ? 0x7F : byte);
  }
  for (std::uint32_t t = 0; t < kPageTokens; ++t) {
    const Half scale = to_half(static_cast<float>(4.0 + 8.0 * random.uniform()));
    std::memcpy(block.data() + layout.scale_offset_bytes + std::size_t{t} * 2, &scale, 2);
  }
  for (std::uint32_t i = 0; format.is_centred() && i < head_dim; ++i) {
    const Half mean = to_half(static_cast<float>(random.normal()));
    std::memcpy(block.data() + layout.mean_offset_bytes + std::size_t{i} * 2, &mean, 2);
  }
  return block;
}

BlockFormat random_format(test::Random& random) {
  const std::uint32_t choice = random.integer(0, 4);
  if (choice == 4) return BlockFormat::raw(RowType::f16);
  return BlockFormat::coded(test::kSchemes[choice], random.integer(0, 1) == 1);
}

/// Gives a case of chosen shape its pages, queries and equaliser.
AttendCase make_case(test::Random& random, AttendCase c) {
  for (std::uint64_t i = 0; i < c.n_page() * c.n_kv_head; ++i) {
    const BlockFormat key = random_format(random);
    const BlockFormat value = random_format(random);
    PageRef ref;
    ref.key = c.add_block(random_block(random, key, c.key_head_dim), key);
    ref.value = c.add_block(random_block(random, value, c.value_head_dim), value);
    c.refs.push_back(ref);
  }
  c.q = random.normals(c.n_row() * c.key_head_dim);
  for (std::uint32_t i = 0; i < c.n_kv_head * c.key_head_dim; ++i) {
    c.equaliser.push_back(to_half(static_cast<float>(std::exp(0.5 * random.normal()))));
  }
  c.set_last_positions();
  return c;
}

void check_case(Device& device, const AttendCase& c) {
  const AttendAnswer answer = attend_on(device, c);
  check_answer(device, c, attend_by_oracle(c), answer);
  CHECK(answer.same_bits(attend_on(device, c)));
}

TEST_CASE("attend: every head_dim and group size, mixed formats") {
  constexpr std::uint32_t kHeadDims[] = {32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 512};
  for (const auto& device : test::open_devices()) {
    test::Random random(11);
    for (const std::uint32_t dim : kHeadDims) {
      for (const std::uint32_t group : {1U, 3U, 16U}) {
        AttendCase c = make_case(random, {.n_head = 2 * group,
                                          .n_kv_head = 2,
                                          .key_head_dim = dim,
                                          .value_head_dim = dim == 96 ? 64 : dim,
                                          .n_q = 2,
                                          .n_token = 270});
        c.causal = true;
        check_case(*device, c);
      }
    }
  }
}

TEST_CASE("attend: n_q 1 to 200 across pages, causal, window, mask, softcap") {
  for (const auto& device : test::open_devices()) {
    test::Random random(12);
    for (const std::uint32_t n_q : {1U, 2U, 8U, 127U, 128U, 129U, 200U}) {
      AttendCase c = make_case(random, {.n_q = n_q, .n_token = 400});
      check_case(*device, c);
      c.causal = true;
      check_case(*device, c);
      c.window = 150;
      check_case(*device, c);
      c.softcap = 5;
      check_case(*device, c);
      for (std::uint64_t i = 0; i < n_q * c.n_token; ++i) {
        c.mask.push_back(random.integer(0, 3) == 0 ? 1 : 0);
      }
      check_case(*device, c);
    }
  }
}

TEST_CASE("attend: rows that see nothing are exactly zero with LSE -infinity") {
  for (const auto& device : test::open_devices()) {
    test::Random random(13);
    AttendCase c = make_case(random, {.n_q = 5, .n_token = 200});
    c.mask.assign(std::size_t{5} * 200, 1);
    std::fill_n(c.mask.begin() + 2 * 200, 200, std::uint8_t{0});
    const AttendAnswer answer = attend_on(*device, c);
    const std::size_t row = std::size_t{c.n_head} * c.value_head_dim;
    for (std::size_t i = 2 * row; i < 3 * row; ++i) CHECK(answer.out[i] == 0.0F);
    for (std::size_t h = 0; h < c.n_head; ++h) {
      CHECK(answer.lse[2 * c.n_head + h] == -std::numeric_limits<float>::infinity());
    }
    check_case(*device, c);
    c.mask.clear();
    c.causal = true;
    c.first_q_position = -3;  // queries before the first key
    check_case(*device, c);
  }
}

}  // namespace
}  // namespace kvault
