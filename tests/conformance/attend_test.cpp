#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/layout/block_layout.hpp"
#include "core/oracle/oracle.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random.hpp"

// What every device must do with queries: attend over raw and coded pages, mixed, as the oracle
// does on the same bytes.

namespace kvault {
namespace {

constexpr double kBound = 1e-3;
constexpr double kLseBound = 1e-3;

struct Shape {
  std::uint32_t n_head = 4;
  std::uint32_t n_kv_head = 2;
  std::uint32_t key_head_dim = 64;
  std::uint32_t value_head_dim = 64;
  std::uint32_t n_q = 3;
  std::uint64_t n_token = 300;
};

/// Pages of random bytes that mean something: raw rows, or random codes with sane scales.
struct Pages {
  std::vector<std::byte> bytes;
  std::vector<PageRef> refs;  ///< [n_page, n_kv_head]

  void add_block(test::Random& random, BlockFormat format, std::uint32_t head_dim, BlockRef& ref) {
    const BlockLayout layout = BlockLayout::of(format, head_dim);
    ref = {bytes.size(), 0, format};
    bytes.resize(bytes.size() + layout.size_bytes);
    std::byte* const block = bytes.data() + ref.offset_bytes;
    if (format.is_raw()) {
      for (std::uint32_t i = 0; i < kPageTokens * head_dim; ++i) {
        const Half value = to_half(static_cast<float>(random.normal()));
        std::memcpy(block + std::size_t{i} * 2, &value, 2);
      }
      return;
    }
    for (std::uint64_t i = 0; i < layout.codes_size_bytes; ++i) {
      const std::uint64_t byte = random.next() & 0xFFU;
      // -128 is no code of q8; any other byte is a row of codes in every scheme.
      block[i] = static_cast<std::byte>(byte == 0x80 ? 0x7F : byte);
    }
    for (std::uint32_t t = 0; t < kPageTokens; ++t) {
      const Half scale = to_half(static_cast<float>(4.0 + 8.0 * random.uniform()));
      std::memcpy(block + layout.scale_offset_bytes + std::size_t{t} * 2, &scale, 2);
    }
    for (std::uint32_t i = 0; format.is_centred() && i < head_dim; ++i) {
      const Half mean = to_half(static_cast<float>(random.normal()));
      std::memcpy(block + layout.mean_offset_bytes + std::size_t{i} * 2, &mean, 2);
    }
  }
};

BlockFormat random_format(test::Random& random) {
  constexpr Scheme kSchemes[] = {Scheme::q8, Scheme::tq4, Scheme::tq3, Scheme::tq2};
  const std::uint32_t choice = random.integer(0, 4);
  if (choice == 4) return BlockFormat::raw(RowType::f16);
  return BlockFormat::coded(kSchemes[choice], random.integer(0, 1) == 1);
}

struct Case {
  Shape shape;
  Pages pages;
  std::vector<float> q;
  std::vector<std::uint8_t> mask;
  std::vector<Half> equaliser;
  bool causal = false;
  std::uint32_t window = 0;
  float softcap = 0;
  std::int64_t first_q_position = 0;
};

Case make_case(test::Random& random, const Shape& shape) {
  Case c;
  c.shape = shape;
  const std::uint64_t n_page = (shape.n_token + kPageTokens - 1) / kPageTokens;
  for (std::uint64_t page = 0; page < n_page; ++page) {
    for (std::uint32_t head = 0; head < shape.n_kv_head; ++head) {
      PageRef ref;
      c.pages.add_block(random, random_format(random), shape.key_head_dim, ref.key);
      c.pages.add_block(random, random_format(random), shape.value_head_dim, ref.value);
      c.pages.refs.push_back(ref);
    }
  }
  c.q = random.normals(std::size_t{shape.n_q} * shape.n_head * shape.key_head_dim);
  for (std::uint32_t i = 0; i < shape.n_kv_head * shape.key_head_dim; ++i) {
    c.equaliser.push_back(to_half(static_cast<float>(std::exp(0.5 * random.normal()))));
  }
  c.first_q_position =
      static_cast<std::int64_t>(shape.n_token) - static_cast<std::int64_t>(shape.n_q);
  return c;
}

struct Answer {
  std::vector<float> out;
  std::vector<float> lse;
};

Answer attend_on(Device& device, const Case& c) {
  auto buffer = device.allocate({.size_bytes = c.pages.bytes.size()});
  REQUIRE(buffer);
  REQUIRE(device.upload(**buffer, 0, c.pages.bytes));
  const std::size_t n_row = std::size_t{c.shape.n_q} * c.shape.n_head;
  Answer answer = {std::vector<float>(n_row * c.shape.value_head_dim), std::vector<float>(n_row)};
  const AttendSequence sequence = {
      .n_q = c.shape.n_q,
      .q = c.q,
      .pages = c.pages.refs,
      .n_token = c.shape.n_token,
      .first_q_position = c.first_q_position,
      .mask = {c.causal, c.window, c.mask, c.shape.n_token},
      .equaliser = c.equaliser,
      .out = answer.out,
      .lse = answer.lse,
  };
  const Buffer* const buffers[] = {buffer->get()};
  const auto ticket = device.attend({.n_head = c.shape.n_head,
                                     .n_kv_head = c.shape.n_kv_head,
                                     .key_head_dim = c.shape.key_head_dim,
                                     .value_head_dim = c.shape.value_head_dim,
                                     .softmax_scale = 0.125F,
                                     .logit_softcap = c.softcap,
                                     .buffers = buffers,
                                     .sequences = {&sequence, 1}});
  REQUIRE(ticket);
  REQUIRE(device.wait(*ticket));
  return answer;
}

oracle::AttendOutput attend_by_oracle(const Case& c) {
  std::vector<oracle::BlockBytes> keys;
  std::vector<oracle::BlockBytes> values;
  const auto bytes_of = [&](const BlockRef& ref, std::uint32_t head_dim) {
    return oracle::BlockBytes{
        std::span(c.pages.bytes)
            .subspan(ref.offset_bytes, BlockLayout::of(ref.format, head_dim).size_bytes),
        ref.format.byte()};
  };
  for (const PageRef& ref : c.pages.refs) {
    keys.push_back(bytes_of(ref.key, c.shape.key_head_dim));
    values.push_back(bytes_of(ref.value, c.shape.value_head_dim));
  }
  std::vector<double> equaliser;
  for (const Half e : c.equaliser) equaliser.push_back(static_cast<double>(to_float(e)));
  auto truth = oracle::attend({.n_head = c.shape.n_head,
                               .n_kv_head = c.shape.n_kv_head,
                               .key_head_dim = c.shape.key_head_dim,
                               .value_head_dim = c.shape.value_head_dim,
                               .softmax_scale = 0.125,
                               .logit_softcap = static_cast<double>(c.softcap),
                               .n_q = c.shape.n_q,
                               .q = c.q,
                               .key_blocks = keys,
                               .value_blocks = values,
                               .n_token = c.shape.n_token,
                               .first_q_position = c.first_q_position,
                               .causal = c.causal,
                               .window = c.window,
                               .mask_bits = c.mask,
                               .mask_stride = c.shape.n_token,
                               .equaliser = equaliser},
                              oracle::Tables::standard());
  REQUIRE(truth);
  return *truth;
}

void check_case(Device& device, const Case& c) {
  const Answer answer = attend_on(device, c);
  const oracle::AttendOutput truth = attend_by_oracle(c);
  CAPTURE(c.shape.key_head_dim);
  CAPTURE(c.shape.value_head_dim);
  CAPTURE(c.shape.n_q);
  CAPTURE(c.shape.n_token);
  CAPTURE(c.shape.n_head);
  CHECK(oracle::worst_error(truth, answer.out, c.shape.value_head_dim, oracle::Eta::granted) <=
        kBound);
  CHECK(oracle::worst_lse_error(truth, answer.lse, oracle::Eta::granted) <= kLseBound);
  const Answer again = attend_on(device, c);
  CHECK(std::memcmp(answer.out.data(), again.out.data(), answer.out.size() * 4) == 0);
}

TEST_CASE("attend: every head_dim and group size, mixed formats") {
  constexpr std::uint32_t kHeadDims[] = {32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 512};
  for (const auto& device : test::open_devices()) {
    test::Random random(11);
    for (const std::uint32_t dim : kHeadDims) {
      for (const std::uint32_t group : {1U, 3U, 16U}) {
        Case c = make_case(random, {.n_head = 2 * group,
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
      Case c = make_case(random, {.n_q = n_q, .n_token = 400});
      check_case(*device, c);
      c.causal = true;
      check_case(*device, c);
      c.window = 150;
      check_case(*device, c);
      c.softcap = 5;
      check_case(*device, c);
      for (std::uint64_t i = 0; i < n_q * c.shape.n_token; ++i) {
        c.mask.push_back(random.integer(0, 3) == 0 ? 1 : 0);
      }
      check_case(*device, c);
    }
  }
}

TEST_CASE("attend: rows that see nothing are exactly zero with LSE -infinity") {
  for (const auto& device : test::open_devices()) {
    test::Random random(13);
    Case c = make_case(random, {.n_q = 5, .n_token = 200});
    c.mask.assign(std::size_t{5} * 200, 1);
    std::fill_n(c.mask.begin() + 2 * 200, 200, std::uint8_t{0});
    const Answer answer = attend_on(*device, c);
    const std::size_t row = std::size_t{c.shape.n_head} * c.shape.value_head_dim;
    for (std::size_t i = 2 * row; i < 3 * row; ++i) CHECK(answer.out[i] == 0.0F);
    for (std::size_t h = 0; h < c.shape.n_head; ++h) {
      CHECK(answer.lse[2 * c.shape.n_head + h] == -std::numeric_limits<float>::infinity());
    }
    check_case(*device, c);
    c.mask.clear();
    c.causal = true;
    c.first_q_position = -3;  // queries before the first key
    check_case(*device, c);
  }
}

TEST_CASE("attend: whatever stands past the valid length never matters") {
  for (const auto& device : test::open_devices()) {
    test::Random random(14);
    for (const std::uint64_t n_token : {1U, 127U, 128U, 130U, 255U}) {
      Case c = make_case(random, {.n_q = 2, .n_token = n_token});
      const Answer clean = attend_on(*device, c);
      const Half garbage[] = {Half{0x7E00}, Half{0x7C00}, to_half(60000.0F)};
      for (const PageRef& ref : c.pages.refs) {
        if (!ref.key.format.is_raw()) continue;
        const auto first = static_cast<std::uint32_t>(n_token % kPageTokens);
        if (first == 0 || &ref < &c.pages.refs[c.pages.refs.size() - 2]) continue;
        for (std::uint32_t i = first * 64; i < kPageTokens * 64; ++i) {
          std::memcpy(c.pages.bytes.data() + ref.key.offset_bytes + std::size_t{i} * 2,
                      &garbage[i % 3], 2);
        }
      }
      const Answer dirty = attend_on(*device, c);
      CHECK(std::memcmp(clean.out.data(), dirty.out.data(), clean.out.size() * 4) == 0);
      check_case(*device, c);
    }
  }
}

}  // namespace
}  // namespace kvault
