#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/cache/cache.hpp"
#include "core/oracle/oracle.hpp"
#include "tests/support/chat.hpp"

// State is a function of position: chunking, rollback, fork.

namespace kvault {
namespace {

using test::Chat;

TEST_CASE("chunk sizes 1, 8, 100 and 512 give the same outputs") {
  const auto device = test::open_cpu();
  for (const Scheme scheme : {Scheme::tq4, Scheme::tq2}) {
    const Chat chat = test::make_chat(test::cache_options(scheme, scheme), 1100, 21);
    Cache whole = test::make_cache(*device, chat);
    const std::vector<float> expected = test::feed(whole, chat, 0, 1100, 512);
    for (const std::uint64_t chunk : {1U, 8U, 100U, 1100U}) {
      Cache cache = test::make_cache(*device, chat);
      const std::vector<float> out = test::feed(cache, chat, 0, 1100, chunk);
      CAPTURE(chunk);
      CHECK(test::worst_row_distance(out, expected, chat.spec().value_head_dim) < 1e-5);
      CHECK(test::same_bits(out, expected));  // on the cpu even the bits: rows are independent
    }
  }
}

TEST_CASE("append then attend equals append_attend, speculative steps across page borders too") {
  const auto device = test::open_cpu();
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq3), 700, 22);
  Cache fused = test::make_cache(*device, chat);
  const std::vector<float> expected = test::feed(fused, chat, 0, 700, 7);
  Cache split = test::make_cache(*device, chat);
  std::vector<float> all;
  for (std::uint64_t token = 0; token < 700; token += 7) {
    REQUIRE(split.append(LayerIndex(0), chat.key_rows(token, 7), chat.value_rows(token, 7)));
    std::vector<float> out;
    REQUIRE(split.attend(LayerIndex(0), chat.request(token, 7, out)));
    all.insert(all.end(), out.begin(), out.end());
  }
  CHECK(test::same_bits(all, expected));
}

TEST_CASE("attend refuses queries whose raw rows are gone") {
  const auto device = test::open_cpu();
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq4), 1024, 23);
  Cache cache = test::make_cache(*device, chat);
  REQUIRE(cache.append(LayerIndex(0), chat.key_rows(0, 1024), chat.value_rows(0, 1024)));
  std::vector<float> out;
  CHECK(cache.attend(LayerIndex(0), chat.request(1024 - 256, 256, out)));
  const auto refused = cache.attend(LayerIndex(0), chat.request(1024 - 257, 257, out));
  REQUIRE(!refused);
  CHECK(refused.error().code == Errc::out_of_range);
  CHECK(refused.error().message.find("767") != std::string::npos);
}

TEST_CASE("rollback to a kept position, replayed, gives the bits of a fresh run") {
  const auto device = test::open_cpu();
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq3, Scheme::tq3), 1000, 24);
  Cache fresh = test::make_cache(*device, chat);
  const std::vector<float> expected = test::feed(fresh, chat, 0, 1000, 64);
  for (const std::uint64_t n : {300U, 383U, 384U, 385U, 512U, 700U, 900U}) {
    for (std::uint64_t back = 0; back < 400 && back <= n; back += 37) {
      Cache cache = test::make_cache(*device, chat);
      test::feed(cache, chat, 0, n, 100);
      const auto kept = cache.rollback(Tokens(n - back));
      REQUIRE(kept);
      CAPTURE(n);
      CAPTURE(back);
      CHECK(kept->n_token.raw <= n - back);
      const std::uint64_t tail_begin = n >= 256 ? (n / 128 - 1) * 128 : 0;
      if (n - back >= tail_begin || n - back <= 128) {
        CHECK(kept->n_token.raw == n - back);  // exactly, where it lies in the tail or the sink
        CHECK(kept->exact);
      } else {
        // The page of history may allow more than the boundary; never less.
        const bool at_boundary = kept->n_token.raw == (n - back) / 128 * 128;
        CHECK((at_boundary || kept->n_token.raw == n - back));
      }
      if (!kept->exact) continue;
      const std::vector<float> out = test::feed(cache, chat, kept->n_token.raw, 1000, 50);
      CHECK(test::same_bits(out, std::span(expected).subspan(kept->n_token.raw * chat.out_size())));
    }
  }
}

TEST_CASE("rollback to a page boundary out of the tail: deterministic, and close to a fresh run") {
  const auto device = test::open_cpu();
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq4), 1400, 25);
  Cache fresh = test::make_cache(*device, chat);
  const std::vector<float> expected = test::feed(fresh, chat, 0, 1400, 100);
  std::vector<float> first;
  for (int run = 0; run < 2; ++run) {
    Cache cache = test::make_cache(*device, chat);
    test::feed(cache, chat, 0, 1400, 100);
    const auto kept = cache.rollback(Tokens(700));
    REQUIRE(kept);
    CHECK(kept->n_token.raw == 640);
    CHECK(!kept->exact);
    const std::vector<float> out = test::feed(cache, chat, 640, 1400, 33);
    const auto tail = std::span(expected).subspan(640 * chat.out_size());
    CHECK(test::worst_row_distance(out, tail, chat.spec().value_head_dim) < 0.2);
    // From the second page after the boundary on, nothing is left of the difference.
    const std::size_t settled = (768 - 640) * chat.out_size();
    CHECK(test::same_bits(std::span(out).subspan(settled), tail.subspan(settled)));
    if (run == 0) first = out;
    CHECK(test::same_bits(out, first));
  }
}

TEST_CASE("a fork goes its own way and leaves the trunk alone") {
  const auto device = test::open_cpu();
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq4), 900, 26);
  Chat other = test::make_chat(chat.options, 900, 27);
  Cache fresh = test::make_cache(*device, chat);
  const std::vector<float> expected = test::feed(fresh, chat, 0, 900, 90);
  Cache trunk = test::make_cache(*device, chat);
  test::feed(trunk, chat, 0, 600, 90);
  Kept kept;
  auto fork = trunk.fork(Tokens(590), &kept);
  REQUIRE(fork);
  CHECK(kept.n_token.raw == 590);
  CHECK(kept.exact);
  test::feed(*fork, other, 590, 900, 90);
  const std::vector<float> out = test::feed(trunk, chat, 600, 900, 90);
  CHECK(test::same_bits(out, std::span(expected).subspan(600 * chat.out_size())));
  auto again = trunk.fork(Tokens(900), &kept);
  REQUIRE(again);
  CHECK(again->n_token().raw == 900);
}

/// The live attention error of a chat: distance of its outputs to exact attention.
double live_error(Device& device, const Chat& chat) {
  Cache cache = test::make_cache(device, chat);
  const std::vector<float> out = test::feed(cache, chat, 0, chat.n_token, 128);
  Chat exact = chat;
  exact.options = test::cache_options(Scheme::raw, Scheme::raw);
  Cache truth_cache = test::make_cache(device, exact);
  const std::vector<float> truth = test::feed(truth_cache, exact, 0, chat.n_token, 128);
  double error = 0;
  double norm = 0;
  for (std::size_t i = 1024 * chat.out_size(); i < out.size(); ++i) {
    const auto x = static_cast<double>(out[i]);
    const auto y = static_cast<double>(truth[i]);
    error += (x - y) * (x - y);
    norm += y * y;
  }
  return std::sqrt(error / norm);
}

TEST_CASE("scaling key channels or adding a constant leaves the live error of k4v4 as it is") {
  const auto device = test::open_cpu();
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq4), 2048, 28);
  const double untouched = live_error(*device, chat);
  MESSAGE("live attention error of k4v4 at 2048 random tokens: ", untouched);
  test::Random random(29);
  Chat scaled = chat;
  std::vector<float> factors(chat.key_size());
  for (float& factor : factors) {
    factor = static_cast<float>(std::exp2(10.0 * random.uniform() - 5.0));  // in [1/32, 32]
  }
  const std::uint32_t group = chat.spec().n_head / chat.spec().n_kv_head;
  const std::uint32_t dim = chat.spec().key_head_dim;
  for (std::size_t i = 0; i < scaled.keys.size(); ++i) {
    scaled.keys[i] *= factors[i % chat.key_size()];
  }
  for (std::size_t i = 0; i < scaled.q.size(); ++i) {
    const std::size_t head = i % chat.q_size() / dim;
    scaled.q[i] /= factors[head / group * dim + i % dim];
  }
  CHECK(live_error(*device, scaled) == doctest::Approx(untouched).epsilon(.05));
  Chat shifted = chat;
  for (std::size_t i = 0; i < shifted.keys.size(); ++i) {
    shifted.keys[i] += i % chat.key_size() % 5 == 0 ? 100.0F : 0.0F;
  }
  CHECK(live_error(*device, shifted) == doctest::Approx(untouched).epsilon(.05));
}

TEST_CASE("a hybrid model: sliding window, recurrent and empty layers go along") {
  const auto device = test::open_cpu();
  CacheOptions options = test::cache_options(Scheme::tq4, Scheme::tq4);
  LayerSpec slides = options.shape.layers[0];
  slides.kind = LayerKind::sliding_window;
  slides.window = 200;
  options.shape.layers.push_back(slides);
  options.shape.layers.push_back({.kind = LayerKind::recurrent});
  options.shape.layers.push_back({.kind = LayerKind::none});
  const Chat chat = test::make_chat(options, 1500, 30);
  Cache cache = test::make_cache(*device, chat);
  test::feed(cache, chat, 0, 1500, 100);
  const std::vector<std::byte> state(100, std::byte{7});
  CHECK(cache.n_token().raw == 0);  // the recurrent layer has not followed yet
  REQUIRE(cache.set_state(LayerIndex(2), Tokens(1500), state));
  CHECK(cache.n_token().raw == 1500);
  CHECK(cache.is_level());
  cache.keep_states();

  // The window's rows are what a plain attention with that window sees.
  Chat plain = chat;
  plain.options = test::cache_options(Scheme::raw, Scheme::raw);
  Cache reference = test::make_cache(*device, plain);
  std::vector<float> expected(chat.out_size());
  std::vector<float> out;
  REQUIRE(reference.append(LayerIndex(0), plain.key_rows(0, 1500), plain.value_rows(0, 1500)));
  AttendRequest request = plain.request(1499, 1, expected);
  request.window = 200;
  REQUIRE(reference.attend(LayerIndex(0), request));
  REQUIRE(cache.attend(LayerIndex(1), chat.request(1499, 1, out)));
  CHECK(test::same_bits(out, expected));

  // What has left the window is refused, never read.
  AttendRequest far = chat.request(1000, 500, out);
  for (const bool causal : {true, false}) {
    far.causal = causal;
    const auto refused = cache.attend(LayerIndex(1), far);
    REQUIRE(!refused);
    CHECK(refused.error().code == Errc::out_of_range);
  }
  std::vector<float> rows(1500 * chat.key_size());
  const auto gone = cache.read_rows(LayerIndex(1), Side::key, Tokens(0), Tokens(1500), rows);
  REQUIRE(!gone);
  CHECK(gone.error().code == Errc::not_found);

  // Going back is possible only where the recurrent state was kept.
  REQUIRE(cache.set_state(LayerIndex(2), Tokens(1500), state));
  const auto kept = cache.rollback(Tokens(1499));
  REQUIRE(kept);
  CHECK(kept->n_token.raw == 0);
}

TEST_CASE("rows come back in any row type, whatever stretch is asked for") {
  const auto device = test::open_cpu();
  for (const Scheme scheme : {Scheme::tq4, Scheme::q8, Scheme::raw}) {
    const Chat chat = test::make_chat(test::cache_options(scheme, scheme), 2500, 53);
    Cache cache = test::make_cache(*device, chat);
    test::feed(cache, chat, 0, 2500, 333);
    for (const Side side : {Side::key, Side::value}) {
      // 2500 tokens are several batches of pages; the others begin and end within one.
      for (const auto& [first, n] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
               {0, 2500}, {0, 0}, {100, 1}, {127, 2}, {130, 126}, {200, 2000}, {2300, 200}}) {
        CAPTURE(first);
        CAPTURE(n);
        const std::size_t n_element = n * (side == Side::key ? chat.key_size() : chat.value_size());
        std::vector<float> floats(n_element);
        std::vector<Half> halves(n_element);
        std::vector<BFloat16> brains(n_element);
        REQUIRE(cache.read_rows(LayerIndex(0), side, Tokens(first), Tokens(n), floats));
        REQUIRE(cache.read_rows(LayerIndex(0), {side, first, n, RowType::f16,
                                                std::as_writable_bytes(std::span(halves))}));
        REQUIRE(cache.read_rows(LayerIndex(0), {side, first, n, RowType::bf16,
                                                std::as_writable_bytes(std::span(brains))}));
        std::size_t n_wrong = 0;
        for (std::size_t i = 0; i < n_element; ++i) {
          n_wrong += halves[i] != to_half(floats[i]) || brains[i] != to_bfloat16(floats[i]);
        }
        CHECK(n_wrong == 0);
        if (n == 0) continue;
        // The whole in one is what the token rows are one by one.
        std::vector<float> last(n_element / n);
        REQUIRE(cache.read_rows(LayerIndex(0), side, Tokens(first + n - 1), Tokens(1), last));
        CHECK(std::equal(last.begin(), last.end(),
                         floats.end() - static_cast<std::ptrdiff_t>(last.size())));
      }
    }
  }
}

TEST_CASE("every bad input is answered with the offending numbers, and changes nothing") {
  const auto device = test::open_cpu();
  Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq4), 300, 31);
  Cache cache = test::make_cache(*device, chat);
  test::feed(cache, chat, 0, 200, 50);
  const auto says = [](const Result<>& result, Errc code, const char* number) {
    REQUIRE(!result);
    CHECK(result.error().code == code);
    CAPTURE(result.error().message);
    CHECK(result.error().message.find(number) != std::string::npos);
  };
  Chat bad = chat;
  bad.keys[210 * chat.key_size() + 5] = NAN;
  says(cache.append(LayerIndex(0), bad.key_rows(200, 20), bad.value_rows(200, 20)),
       Errc::not_finite, "token 10");
  bad = chat;
  bad.values[219 * chat.value_size()] = INFINITY;
  says(cache.append(LayerIndex(0), bad.key_rows(200, 20), bad.value_rows(200, 20)),
       Errc::not_finite, "token 19");
  says(cache.append(LayerIndex(3), chat.key_rows(200, 1), chat.value_rows(200, 1)),
       Errc::out_of_range, "3");
  says(cache.append(LayerIndex(0), chat.key_rows(200, 2), chat.value_rows(200, 1)),
       Errc::shape_mismatch, "2 keys");
  RowsView wrong = chat.key_rows(200, 1);
  wrong.head_dim = 32;
  says(cache.append(LayerIndex(0), wrong, chat.value_rows(200, 1)), Errc::shape_mismatch, "32");
  wrong = chat.key_rows(200, 1);
  wrong.type = RowType::f16;
  says(cache.append(LayerIndex(0), wrong, chat.value_rows(200, 1)), Errc::type_mismatch, "f16");
  const auto beyond = cache.rollback(Tokens(201));
  REQUIRE(!beyond);
  CHECK(beyond.error().message.find("201") != std::string::npos);
  CHECK(cache.n_token().raw == 200);
  CacheOptions unsupported = test::cache_options(Scheme::tq4, Scheme::tq4, 72);
  const auto none = Cache::create(*device, unsupported);
  REQUIRE(!none);
  CHECK(none.error().code == Errc::unsupported);
  CHECK(none.error().message.find("72") != std::string::npos);
}

}  // namespace
}  // namespace kvault
