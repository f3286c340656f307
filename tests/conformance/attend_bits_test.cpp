#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "core/layout/block_layout.hpp"
#include "tests/support/attend_case.hpp"
#include "tests/support/attend_rows.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/random.hpp"

// What must not change a bit of an answer: threads, the cutting of queries, neighbours in a call,
// other devices at work, and whatever stands past the valid length.

namespace kvault {
namespace {

using test::AttendAnswer;
using test::AttendCase;

/// The cpu once more, with as many threads.
std::unique_ptr<Device> open_cpu(const Device& like, std::uint32_t n_thread) {
  for (const BackendEntry& entry : backends()) {
    if (entry.name != "cpu") continue;
    auto device =
        entry.open({.n_thread = n_thread, .instruction_set = like.caps().instruction_set});
    REQUIRE(device);
    return std::move(*device);
  }
  return nullptr;
}

/// One device per instruction set that this machine has.
std::vector<std::unique_ptr<Device>> open_cpus() {
  std::vector<std::unique_ptr<Device>> devices = test::open_devices();
  std::erase_if(devices, [](const auto& device) { return device->name() != "cpu"; });
  return devices;
}

AttendCase filled(std::uint64_t seed, Device& encoder, AttendCase c) {
  test::Random random(seed);
  c.set_last_positions();
  fill_case(c, encoder, random, test::Rows::outlier_channels, test::Rows::normal,
            test::Queries::times_4);
  return c;
}

/// Shapes in which threads, tiles of rows, splits and what is carried between them meet in
/// different ways.
std::vector<AttendCase> shapes() {
  return {
      {.n_head = 8, .n_kv_head = 8, .n_q = 1, .n_token = 2300},
      {.n_head = 32, .n_kv_head = 8, .n_q = 1, .n_token = 300},
      {.n_head = 6, .n_kv_head = 2, .n_q = 23, .n_token = 700, .causal = true},
      {.n_head = 2,
       .n_kv_head = 2,
       .key_head_dim = 32,
       .value_head_dim = 512,
       .n_q = 65,
       .n_token = 6200,
       .causal = true},
      {.n_head = 16,
       .n_kv_head = 1,
       .key_head_dim = 32,
       .value_head_dim = 32,
       .n_q = 20,
       .n_token = 4100,
       .first_page = 5,
       .causal = true,
       .window = 2500},
      {.n_head = 5,
       .n_kv_head = 5,
       .key_head_dim = 80,
       .value_head_dim = 48,
       .n_q = 13,
       .n_token = 128,
       .softcap = 5},
  };
}

TEST_CASE("attend: bits do not depend on the number of threads") {
  for (const auto& cpu : open_cpus()) {
    std::uint64_t seed = 40;
    for (const AttendCase& shape : shapes()) {
      CAPTURE(seed);
      // Emulated vectors are slow, and what threads share does not depend on the set.
      const bool is_scalar = cpu->caps().instruction_set == "scalar";
      if (is_scalar && shape.n_row() * shape.n_token > 300'000) continue;
      const AttendCase c = filled(seed++, *cpu, shape);
      const AttendAnswer answer = attend_on(*cpu, c);
      for (const std::uint32_t n_thread : {1U, 3U, 7U}) {
        CAPTURE(n_thread);
        const auto other = open_cpu(*cpu, n_thread);
        CHECK(other->caps().n_thread == n_thread);
        CHECK(answer.same_bits(attend_on(*other, c)));
      }
    }
  }
}

TEST_CASE("attend: bits do not depend on how queries are cut into calls") {
  for (const auto& cpu : open_cpus()) {
    for (const bool with_mask : {false, true}) {
      AttendCase c = filled(50, *cpu,
                            {.n_head = 3,
                             .n_kv_head = 1,
                             .key_head_dim = 96,
                             .n_q = 200,
                             .n_token = 420,
                             .causal = true});
      test::Random random(51);
      for (std::size_t i = 0; with_mask && i < c.n_q * c.n_token; ++i) {
        c.mask.push_back(random.integer(0, 3) == 0 ? 0 : 1);
      }
      const AttendAnswer whole = attend_on(*cpu, c);
      for (const std::uint32_t step : {1U, 8U, 21U, 100U}) {
        CAPTURE(step);
        AttendAnswer parts;
        for (std::uint32_t first = 0; first < c.n_q; first += step) {
          parts.append(attend_on(*cpu, c.part(first, std::min(step, c.n_q - first))));
        }
        CHECK(whole.same_bits(parts));
      }
    }
  }
}

TEST_CASE("attend: bits do not depend on the other sequences of a call, nor on their order") {
  for (const auto& device : test::open_devices()) {
    std::vector<AttendCase> cases;
    std::uint64_t seed = 60;
    for (const auto& [n_q, n_token] : {std::pair{1U, 300U},
                                       {1U, 0U},
                                       {70U, 150U},
                                       {1U, 2049U},
                                       {8U, 128U},
                                       {3U, 1U},
                                       {1U, 6000U}}) {
      cases.push_back(filled(seed++, *device, {.n_q = n_q, .n_token = n_token, .causal = true}));
    }
    cases[3].mask.assign(2049, 1);
    cases[3].mask[77] = 0;
    cases[4].window = 9;
    std::vector<AttendAnswer> alone;
    for (const AttendCase& c : cases) alone.push_back(attend_on(*device, c));
    for (const bool reversed : {false, true}) {
      const std::vector<AttendAnswer> together = attend_together(*device, cases);
      for (std::size_t i = 0; i < cases.size(); ++i) {
        CAPTURE(i);
        CAPTURE(reversed);
        CHECK(together[i].same_bits(alone[i]));
      }
      std::reverse(cases.begin(), cases.end());
      std::reverse(alone.begin(), alone.end());
    }
  }
}

TEST_CASE("attend: devices at work at the same time, with more threads than cores") {
  const auto cpus = open_cpus();
  std::vector<std::unique_ptr<Device>> devices;
  std::vector<AttendCase> cases;
  std::vector<AttendAnswer> expected;
  for (std::size_t i = 0; i < 2 * cpus.size(); ++i) {
    Device& cpu = *cpus[i % cpus.size()];
    devices.push_back(open_cpu(cpu, 8));
    cases.push_back(filled(70 + i, cpu, {.n_q = 9, .n_token = 500, .causal = true}));
    expected.push_back(attend_on(cpu, cases.back()));
  }
  std::vector<int> n_same(devices.size());  // doctest's checks stay on one thread
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 10; ++round) {
        if (attend_on(*devices[i], cases[i]).same_bits(expected[i])) ++n_same[i];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int n : n_same) CHECK(n == 10);
}

/// Overwrites what stands at and past token `n_valid` of a block: raw rows and scales by numbers
/// that are none, codes by anything.
void spoil(AttendCase& c, test::Random& random, const BlockRef& ref, Side side,
           std::uint64_t n_valid) {
  const std::uint32_t dim = side == Side::key ? c.key_head_dim : c.value_head_dim;
  const std::span<std::byte> block = c.block(ref, dim);
  const auto fill = [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t i = begin; i < end; ++i) {
      block[i] = static_cast<std::byte>(random.next() & 0xFFU);
    }
  };
  if (ref.format.is_raw()) {
    const RowType type = ref.format.row_type();
    const std::uint32_t size = size_bytes_of(type);
    // The upper half of a NaN or an infinity, in either sign.
    const std::uint32_t high = type == RowType::f16 ? 0x7C00U : 0x7F80U;
    for (std::uint64_t i = n_valid * dim; i < std::uint64_t{kPageTokens} * dim; ++i) {
      const auto bits =
          static_cast<std::uint16_t>(high | (random.next() & 0x8000U) | (i % 2 == 0 ? 1U : 0U));
      std::memset(block.data() + i * size, 0, size);
      std::memcpy(block.data() + (i + 1) * size - 2, &bits, 2);
    }
    return;
  }
  const BlockLayout layout = BlockLayout::of(ref.format, dim);
  constexpr std::uint16_t kScales[] = {0x7E00, 0x7C00, 0xFC00, 0x7BFF, 0xFBFF, 0xFFFF};
  for (std::uint64_t t = n_valid; t < kPageTokens; ++t) {
    const std::uint16_t bits = kScales[random.integer(0, 5)];
    std::memcpy(block.data() + layout.scale_offset_bytes + t * 2, &bits, 2);
  }
  // Codes of values lie in fours of tokens: the last one that is begun stays.
  const std::uint64_t first = side == Side::key ? n_valid : align_up(n_valid, 4);
  fill(first * layout.codes_size_bytes / kPageTokens, layout.codes_size_bytes);
}

TEST_CASE("attend: whatever stands past the valid length never matters") {
  for (const auto& device : test::open_devices()) {
    for (const std::uint64_t n_token : {1U, 2U, 63U, 127U, 129U, 130U, 200U, 255U}) {
      CAPTURE(n_token);
      AttendCase c =
          filled(80 + n_token, *device,
                 {.n_head = 8, .n_kv_head = 8, .n_q = 5, .n_token = n_token, .causal = true});
      const AttendAnswer clean = attend_on(*device, c);
      check_answer(*device, c, attend_by_oracle(c), clean);
      test::Random random(81);
      const std::size_t last_page = c.refs.size() - c.n_kv_head;
      for (std::size_t i = last_page; i < c.refs.size(); ++i) {
        spoil(c, random, c.refs[i].key, Side::key, n_token % kPageTokens);
        spoil(c, random, c.refs[i].value, Side::value, n_token % kPageTokens);
      }
      CHECK(clean.same_bits(attend_on(*device, c)));
    }
  }
}

TEST_CASE("attend: rows that were encoded past the valid length never matter") {
  for (const auto& device : test::open_devices()) {
    for (const Scheme scheme : test::kSchemes) {
      // Not centred: a mean would be one of all rows of the page.
      const BlockFormat format = BlockFormat::coded(scheme, false);
      AttendCase c = {.n_q = 2, .n_token = 77};
      test::Random random(90);
      std::vector<std::vector<float>> keys;
      std::vector<std::vector<float>> values;
      for (std::uint32_t head = 0; head < c.n_kv_head; ++head) {
        keys.push_back(random.normals(std::size_t{kPageTokens} * c.key_head_dim));
        values.push_back(random.normals(std::size_t{kPageTokens} * c.value_head_dim));
      }
      c.q = random.normals(c.n_row() * c.key_head_dim);
      std::vector<AttendAnswer> answers;
      for (const float scale : {1.0F, 0.0F, 1000.0F}) {
        AttendCase other = c;
        for (auto* const side : {&keys, &values}) {
          for (std::vector<float>& rows : *side) {
            for (std::size_t i = c.n_token * 64; i < rows.size(); ++i) {
              rows[i] = scale * static_cast<float>(random.normal());
            }
          }
        }
        test::Random same(91);
        const auto key_blocks = encode_side(*device, same, c, Side::key, keys, format);
        const auto value_blocks = encode_side(*device, same, c, Side::value, values, format);
        add_pages(other, key_blocks, value_blocks);
        answers.push_back(attend_on(*device, other));
      }
      CHECK(answers[0].same_bits(answers[1]));
      CHECK(answers[0].same_bits(answers[2]));
    }
  }
}

}  // namespace
}  // namespace kvault
