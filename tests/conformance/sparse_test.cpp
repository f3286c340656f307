#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "core/layout/block_layout.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random.hpp"

// Sparse values: what may be left out is bounded, what is left out is not read, and off is off.

namespace kvault {
namespace {

constexpr std::uint32_t kDim = 64;
constexpr std::uint32_t kHeads = 2;
constexpr std::uint32_t kKvHeads = 1;
constexpr float kScale = 0.125F;

/// A context of n_page pages of one kv head: the first raw, the others tq4, keys centred.
struct Context {
  std::vector<std::byte> bytes;
  std::vector<PageRef> pages;
  std::vector<float> q;

  std::uint64_t n_token() const { return pages.size() * kPageTokens; }
};

void add_raw(test::Random& random, Context& context, BlockRef& ref, std::span<const float> towards,
             float length) {
  ref = {context.bytes.size(), 0, BlockFormat::raw(RowType::f16)};
  context.bytes.resize(context.bytes.size() + BlockLayout::of(ref.format, kDim).size_bytes);
  for (std::uint32_t i = 0; i < kPageTokens * kDim; ++i) {
    const float along = towards.empty() ? 0 : length * towards[i % kDim];
    const Half value = to_half(along + static_cast<float>(random.normal()));
    std::memcpy(context.bytes.data() + ref.offset_bytes + std::size_t{i} * 2, &value, 2);
  }
}

void add_coded(test::Random& random, Context& context, BlockRef& ref, bool is_key) {
  ref = {context.bytes.size(), 0, BlockFormat::coded(Scheme::tq4, is_key)};
  const BlockLayout layout = BlockLayout::of(ref.format, kDim);
  context.bytes.resize(context.bytes.size() + layout.size_bytes);
  std::byte* const block = context.bytes.data() + ref.offset_bytes;
  for (std::uint64_t i = 0; i < layout.codes_size_bytes; ++i) {
    block[i] = static_cast<std::byte>(random.next() & 0xFFU);
  }
  for (std::uint32_t t = 0; t < kPageTokens; ++t) {
    const Half scale = to_half(4.0F + 4.0F * static_cast<float>(random.uniform()));
    std::memcpy(block + layout.scale_offset_bytes + std::size_t{t} * 2, &scale, 2);
  }
}

/// `pull`: how far the first page's keys point along the queries; 0: probability is spread.
Context make_context(test::Random& random, std::uint64_t n_page, float pull) {
  Context context;
  context.q = random.normals(std::size_t{kHeads} * kDim);
  std::copy_n(context.q.begin(), kDim, context.q.begin() + kDim);
  for (std::uint64_t page = 0; page < n_page; ++page) {
    PageRef ref;
    if (page == 0) {
      add_raw(random, context, ref.key, std::span(context.q).first(kDim), pull);
      add_raw(random, context, ref.value, {}, 0);
    } else {
      add_coded(random, context, ref.key, true);
      add_coded(random, context, ref.value, false);
    }
    context.pages.push_back(ref);
  }
  return context;
}

struct Answer {
  std::vector<float> out = std::vector<float>(std::size_t{kHeads} * kDim);
  std::vector<float> lse = std::vector<float>(kHeads);
};

Answer attend(Device& device, const Context& context, const SparseValues& sparse) {
  auto buffer = device.allocate({.size_bytes = context.bytes.size()});
  REQUIRE(buffer);
  REQUIRE(device.upload(**buffer, 0, context.bytes));
  Answer answer;
  AttendSequence sequence;
  sequence.n_q = 1;
  sequence.q = context.q;
  sequence.pages = context.pages;
  sequence.n_token = context.n_token();
  sequence.first_q_position = static_cast<std::int64_t>(context.n_token()) - 1;
  sequence.out = answer.out;
  sequence.lse = answer.lse;
  const Buffer* const buffers[] = {buffer->get()};
  AttendArgs args;
  args.n_head = kHeads;
  args.n_kv_head = kKvHeads;
  args.key_head_dim = kDim;
  args.value_head_dim = kDim;
  args.softmax_scale = kScale;
  args.sparse_values = sparse;
  args.buffers = buffers;
  args.sequences = {&sequence, 1};
  const auto ticket = device.attend(args);
  REQUIRE(ticket);
  REQUIRE(device.wait(*ticket));
  return answer;
}

bool same_bits(const Answer& a, const Answer& b) {
  return std::memcmp(a.out.data(), b.out.data(), a.out.size() * 4) == 0 &&
         std::memcmp(a.lse.data(), b.lse.data(), a.lse.size() * 4) == 0;
}

TEST_CASE("sparse values: off below the least length, and lse is never touched") {
  for (const auto& device : test::open_devices()) {
    test::Random random(31);
    const Context context = make_context(random, 40, 3);
    const Answer whole = attend(*device, context, {});
    CHECK(same_bits(whole, attend(*device, context, {0, 0})));
    CHECK(same_bits(whole, attend(*device, context, {0.5F, context.n_token() + 1})));
    const Answer sparse = attend(*device, context, {0.5F, context.n_token()});
    CHECK(std::memcmp(whole.lse.data(), sparse.lse.data(), whole.lse.size() * 4) == 0);
  }
}

TEST_CASE("sparse values: at most the threshold of the mass is lost") {
  for (const auto& device : test::open_devices()) {
    test::Random random(32);
    for (const float pull : {0.0F, 0.2F, 0.5F, 1.0F, 3.0F}) {
      const Context context = make_context(random, 40, pull);
      const Answer whole = attend(*device, context, {});
      for (const float threshold : {1e-4F, 1e-2F, 0.3F, 0.9F}) {
        const Answer sparse = attend(*device, context, {threshold, 0});
        // No value of these contexts is longer than 4 sqrt(64) and none of the sums rounds by 1e-3.
        double square = 0;
        for (std::size_t i = 0; i < kDim; ++i) {
          const double difference = static_cast<double>(sparse.out[i]) - whole.out[i];
          square += difference * difference;
        }
        CAPTURE(pull);
        CAPTURE(threshold);
        CHECK(std::sqrt(square) <= static_cast<double>(threshold) * 32 + 1e-3);
      }
    }
  }
}

TEST_CASE("sparse values: what is left out is not read") {
  const Half nan{0x7E00};
  for (const auto& device : test::open_devices()) {
    test::Random random(33);
    Context context = make_context(random, 40, 6);
    const Answer whole = attend(*device, context, {});
    // Beside a first page that holds all but e^-20 of it, no other page's values can matter.
    for (std::uint64_t page = 1; page < context.pages.size(); ++page) {
      const BlockRef& value = context.pages[page].value;
      const BlockLayout layout = BlockLayout::of(value.format, kDim);
      for (std::uint32_t t = 0; t < kPageTokens; ++t) {
        std::memcpy(context.bytes.data() + value.offset_bytes + layout.scale_offset_bytes +
                        std::size_t{t} * 2,
                    &nan, 2);
      }
    }
    const Answer sparse = attend(*device, context, {1e-4F, 0});
    for (std::size_t i = 0; i < sparse.out.size(); ++i) {
      CHECK(std::abs(sparse.out[i] - whole.out[i]) <= 1e-4F * 32);
    }
  }
}

}  // namespace
}  // namespace kvault
