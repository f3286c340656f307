#include <doctest/doctest.h>

#include <utility>

#include "gpu_vulkan/runtime.hpp"
#include "tests/support/attend_case.hpp"
#include "tests/support/attend_rows.hpp"
#include "tests/support/skip.hpp"
#include "tests/unit/gpu_vulkan/device_case.hpp"
#include "tests/unit/gpu_vulkan/open_context.hpp"

// All pipelines of attend, those that it takes on other adapters than this machine's too, answer
// within the same bounds. Conformance tests take those that were chosen.

namespace kvault {
namespace {

using test::AttendCase;
using test::Formats;
using test::Queries;
using test::Rows;

struct Shape {
  std::uint32_t group;
  std::uint32_t key_dim;
  std::uint32_t value_dim;
  std::uint32_t n_q;
};

/// 1, 4, 8 and 16 columns; heads that are no power of two; the widest.
constexpr Shape kShapes[] = {{1, 64, 64, 1}, {3, 96, 48, 1}, {2, 80, 160, 4}, {4, 512, 512, 5}};

/// Null, with a message, where this machine has no Vulkan.
std::unique_ptr<Device> open_path(const vulkan::AttendPath& path) {
  const std::shared_ptr<const vulkan::Context> context = test::open_context();
  if (context == nullptr) return nullptr;
  if (path.uses_dot_product && !context->has_dot_product()) {
    MESSAGE("this driver has no dot product of bytes");
    return nullptr;
  }
  auto runtime = vulkan::Runtime::create(context);
  REQUIRE(runtime);
  (*runtime)->set_attend_path(path);
  return vulkan::open_device(*runtime);
}

/// The same case with other rows, still raw, on its last page.
AttendCase with_raw_tail(AttendCase c, test::Random& random) {
  const BlockFormat format = BlockFormat::raw(RowType::f16);
  const auto raw_block = [&](std::uint32_t head_dim) {
    const std::vector<float> rows = random.normals(std::size_t{kPageTokens} * head_dim);
    return c.add_block(test::to_bytes(rows, RowType::f16), format);
  };
  for (std::size_t i = c.refs.size() - c.n_kv_head; i < c.refs.size(); ++i) {
    c.refs[i] = {raw_block(c.key_head_dim), raw_block(c.value_head_dim)};
  }
  return c;
}

void check_path(const vulkan::AttendPath& path) {
  const std::unique_ptr<Device> device = open_path(path);
  if (device == nullptr) KVAULT_TEST_SKIP("no Vulkan device that takes this path");
  std::uint64_t seed = 700;
  for (const Shape& shape : kShapes) {
    for (const Scheme scheme : test::kSchemes) {
      CAPTURE(++seed);
      test::Random random(seed);
      AttendCase c = {.n_head = shape.group * 2,
                      .key_head_dim = shape.key_dim,
                      .value_head_dim = shape.value_dim,
                      .n_q = shape.n_q,
                      .n_token = 300};
      c.causal = true;
      c.set_last_positions();
      const BlockFormat format = BlockFormat::coded(scheme, seed % 2 == 0);
      fill_case(c, *device, random, Rows::normal, Rows::normal, Queries::normal, {format, format});
      const AttendCase tail = with_raw_tail(c, random);
      for (const AttendCase* some : {&std::as_const(c), &tail}) {
        const test::AttendAnswer answer = attend_on(*device, *some);
        check_answer(*device, *some, attend_by_oracle(*some), answer);
        CHECK(answer.same_bits(attend_on(*device, *some)));
      }
    }
  }
}

TEST_CASE("vulkan attend: pipelines for every shape") {
  check_path({.is_specialised = false, .uses_dot_product = false});
}

TEST_CASE("vulkan attend: pipelines made for one shape and format") {
  check_path({.is_specialised = true, .uses_dot_product = false});
}

TEST_CASE("vulkan attend: integer queries, pipelines for every shape") {
  check_path({.is_specialised = false, .uses_dot_product = true});
}

TEST_CASE("vulkan attend: integer queries, pipelines made for one shape and format") {
  check_path({.is_specialised = true, .uses_dot_product = true});
}

}  // namespace
}  // namespace kvault
