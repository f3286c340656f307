#include <doctest/doctest.h>

#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "sdk/adapters/llama/src/state.hpp"
#include "tests/support/random.hpp"
#include "tests/unit/sdk/llama_blob.hpp"

using namespace kvault;
using namespace kvault::llama;
using namespace kvault::test;

namespace {

std::span<const std::byte> view(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::int32_t> positions(std::int32_t first, std::int32_t n) {
  std::vector<std::int32_t> result(static_cast<std::size_t>(n));
  std::iota(result.begin(), result.end(), first);
  return result;
}

/// A blob of any kind with random sizes, types and variants.
struct Sample {
  MemoryKind kind = MemoryKind::plain;
  std::vector<BlobCache> caches;
  BlobRecurrent recurrent;
  BlobMaker maker;
  bool is_file = false;
  std::vector<std::int32_t> tokens;

  ExpectedState expected() const { return {kind, is_recurrent(kind) ? recurrent.n_recurrent : 0}; }

  explicit Sample(std::uint64_t seed) : maker(seed * 77 + 1) {
    Random random(seed);
    kind = static_cast<MemoryKind>(random.integer(0, 4));
    const auto n = static_cast<std::int32_t>(random.integer(2, 40));
    BlobCache cache;
    cache.n_stream = random.integer(1, 4);
    cache.stream = random.integer(0, cache.n_stream - 1);
    cache.positions = positions(0, n);
    for (std::size_t i = 1; i < cache.positions.size(); ++i) {  // cells lie in any order
      std::swap(cache.positions[i],
                cache.positions[random.integer(0, static_cast<std::uint32_t>(i))]);
    }
    cache.n_layer = random.integer(1, 5);
    cache.n_element = 32 * random.integer(1, 4);
    constexpr std::int32_t kTypes[] = {0, 1, 2, 8, 30};
    cache.key_type = kTypes[random.integer(0, 4)];
    cache.value_type = kTypes[random.integer(0, 4)];
    const bool is_plain = cache.value_type != 2 && cache.value_type != 8;
    cache.is_transposed = is_plain && random.integer(0, 1) == 1;
    cache.ext_bytes = std::vector<std::uint32_t>{0, 0, 8, 12}[random.integer(0, 3)];
    if (has_attention(kind)) caches.push_back(cache);
    if (slides(kind)) {
      cache.positions = positions(n / 2, n - n / 2);
      cache.n_layer = random.integer(1, 5);
      caches.push_back(cache);
    }
    recurrent.position = n - 1;
    recurrent.n_recurrent = random.integer(1, 4);
    recurrent.r_bytes = 4 * random.integer(1, 9);
    recurrent.s_bytes = 4 * random.integer(0, 9);
    is_file = random.integer(0, 3) == 0;
    tokens = positions(5, n);
    if (is_file) {
      maker.file(tokens);
    } else {
      maker.blob(static_cast<std::int32_t>(random.integer(0, 3)));
    }
    for (const BlobCache& one : caches) maker.cache(one);
    if (is_recurrent(kind)) maker.recurrent(recurrent);
  }
};

TEST_CASE("A state of any kind, type and variant is read as it was made") {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    CAPTURE(seed);
    const Sample sample(seed);
    const auto state = parse_state(view(sample.maker.bytes));
    REQUIRE_MESSAGE(state, (state ? "" : state.error().message));
    CHECK(state->kind == sample.kind);
    CHECK(state->is_file == sample.is_file);
    if (sample.is_file) CHECK(state->tokens == sample.tokens);
    REQUIRE(state->kv.size() == sample.caches.size());
    for (std::size_t i = 0; i < sample.caches.size(); ++i) {
      const BlobCache& made = sample.caches[i];
      const KvSection& read = state->kv[i];
      CHECK(read.n_stream == made.n_stream);
      CHECK(read.ext_bytes == made.ext_bytes);
      CHECK(read.is_transposed == made.is_transposed);
      REQUIRE(read.cells.size() == made.positions.size());
      for (std::size_t c = 0; c < read.cells.size(); ++c) {
        CHECK(read.cells[c].position == made.positions[c]);
        if (made.ext_bytes >= 8) CHECK(read.cells[c].y == made.positions[c] + 2000);
        if (made.ext_bytes == 12) CHECK(read.cells[c].token == made.positions[c] + 3000);
      }
      REQUIRE(read.keys.size() == made.n_layer);
      for (std::size_t layer = 0; layer < made.n_layer; ++layer) {
        CHECK(read.keys[layer].type.number == made.key_type);
        CHECK(read.values[layer].type.number == made.value_type);
        CHECK(text_of(read.keys[layer].bytes) == sample.maker.keys[i][layer]);
        CHECK(text_of(read.values[layer].bytes) == sample.maker.values[i][layer]);
      }
    }
    CHECK(state->recurrent.has_value() == is_recurrent(sample.kind));
    CHECK(state->last_position() == sample.recurrent.position);
  }
}

TEST_CASE("What is written again is byte for byte what was read") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    CAPTURE(seed);
    Sample sample(seed);
    bool is_first_stream = true;
    for (const BlobCache& cache : sample.caches) is_first_stream &= cache.stream == 0;
    if (!is_first_stream) continue;  // a sequence's cells are always written in the first
    const auto state = parse_state(view(sample.maker.bytes));
    REQUIRE(state);
    std::int32_t seq_id = 0;
    if (!sample.is_file) std::memcpy(&seq_id, sample.maker.bytes.data() + 4, 4);
    StateWriter writer =
        sample.is_file ? StateWriter::file(state->tokens) : StateWriter::blob(seq_id);
    for (const KvSection& kv : state->kv) {
      writer.begin_kv({.n_stream = kv.n_stream,
                       .ext_bytes = kv.ext_bytes,
                       .seq_id = seq_id,
                       .is_transposed = kv.is_transposed,
                       .n_layer = static_cast<std::uint32_t>(kv.keys.size())},
                      kv.cells);
      for (const StateRows& rows : kv.keys) {
        const auto target = writer.add_keys(rows.type, rows.row_bytes);
        REQUIRE(target.size() == rows.bytes.size());
        std::copy(rows.bytes.begin(), rows.bytes.end(), target.begin());
      }
      for (const StateRows& rows : kv.values) {
        const auto target = writer.add_values(rows.type, rows.type.elements_of(rows.row_bytes));
        REQUIRE(target.size() == rows.bytes.size());
        std::copy(rows.bytes.begin(), rows.bytes.end(), target.begin());
      }
      writer.end_kv();
    }
    if (state->recurrent) writer.add_recurrent(state->recurrent->bytes);
    CHECK(text_of(writer.take().bytes()) == sample.maker.bytes);
  }
}

TEST_CASE("A state that ends early is refused wherever it ends") {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    const Sample sample(seed);
    for (std::size_t n = 0; n < sample.maker.bytes.size(); ++n) {
      CAPTURE(seed);
      CAPTURE(n);
      const auto state = parse_state(view(sample.maker.bytes).first(n), sample.expected());
      CHECK_FALSE(state);
    }
  }
}

TEST_CASE("Bytes behind a state are refused") {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Sample sample(seed);
    sample.maker.bytes.append(seed % 13 + 1, static_cast<char>(seed));
    CHECK_FALSE(parse_state(view(sample.maker.bytes), sample.expected()));
  }
}

/// Whatever a state says, what is read from it lies within it and fits together.
void check_consistent(const State& state, std::span<const std::byte> bytes) {
  const auto lies_within = [&](std::span<const std::byte> part) {
    return part.data() >= bytes.data() && part.data() + part.size() <= bytes.data() + bytes.size();
  };
  for (const KvSection& kv : state.kv) {
    REQUIRE(kv.keys.size() == kv.values.size());
    for (const auto* side : {&kv.keys, &kv.values}) {
      for (const StateRows& rows : *side) {
        REQUIRE(lies_within(rows.bytes));
        REQUIRE(rows.bytes.size() == kv.cells.size() * rows.row_bytes);
      }
    }
    for (const Cell& cell : kv.cells) REQUIRE(cell.position >= 0);
  }
  if (state.recurrent) REQUIRE(lies_within(state.recurrent->bytes));
}

TEST_CASE("Thousands of forged states are refused or harmless") {
  std::size_t n_refused = 0;
  std::size_t n_taken = 0;
  for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
    Sample sample(seed % 200);
    Random random(seed);
    std::string& bytes = sample.maker.bytes;
    const std::uint32_t n_change = random.integer(1, 3);
    for (std::uint32_t i = 0; i < n_change; ++i) {
      const std::size_t at = random.next() % std::min<std::size_t>(bytes.size(), 400);
      switch (random.integer(0, 4)) {
        case 0:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.integer(0, 7)));
          break;
        case 1:
          bytes[at] = static_cast<char>(random.next());
          break;
        case 2: {  // a count or size that promises much
          constexpr std::uint64_t kForged[] = {0x7fffffffU, 0xffffffffU, ~std::uint64_t{0},
                                               std::uint64_t{1} << 32U, 0x80000000U};
          const std::uint64_t value = kForged[random.integer(0, 4)];
          const std::size_t width = random.integer(0, 1) == 0 ? 4 : 8;
          if (at + width <= bytes.size()) std::memcpy(bytes.data() + at, &value, width);
          break;
        }
        case 3:
          bytes.resize(at);
          break;
        default:
          bytes.insert(at, 1, static_cast<char>(random.next()));
      }
      if (bytes.empty()) break;
    }
    const auto state = parse_state(view(bytes));
    if (!state) {
      ++n_refused;
      REQUIRE_FALSE(state.error().message.empty());
      continue;
    }
    ++n_taken;  // a flipped bit of a row is a row like any other
    check_consistent(*state, view(bytes));
  }
  MESSAGE(n_refused << " refused, " << n_taken << " read");
  CHECK(n_refused > 5'000);
}

TEST_CASE("What is no state says what it is instead") {
  const auto refusal = [](const BlobMaker& maker) {
    const auto state = parse_state(view(maker.bytes));
    REQUIRE_FALSE(state);
    return state.error();
  };
  BlobMaker version(1);
  version.file({1, 2, 3}, 4);
  version.cache({.positions = {0, 1, 2}});
  CHECK(refusal(version).code == Errc::unknown_format);
  CHECK(refusal(version).message.find("version 4") != std::string::npos);

  BlobMaker magic(1);
  magic.bytes = "GGUFGGUFGGUF";
  CHECK(refusal(magic).code == Errc::unknown_format);

  BlobMaker type(1);
  type.blob(0);
  type.cache({.positions = {0}, .n_layer = 1, .key_type = 77});
  CHECK(refusal(type).message.find("ggml type 77") != std::string::npos);

  BlobMaker empty(1);
  empty.blob(0);
  empty.cache({.positions = {}});
  CHECK(refusal(empty).code == Errc::incomplete);

  BlobMaker late(1);
  late.blob(0);
  late.cache({.positions = {0, 1}});
  late.recurrent({.position = 5});
  CHECK(refusal(late).message.find("position 5") != std::string::npos);
}

}  // namespace
