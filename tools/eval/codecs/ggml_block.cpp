#include "tools/eval/codecs/ggml_block.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/base/assert.hpp"
#include "core/base/half.hpp"
#include "tools/eval/matrix.hpp"

namespace kvault::eval {
namespace {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kRotated = 64;

float as_half(float value) { return to_float(to_half(value)); }

void code_q8_0(std::span<float> x) {
  float highest = 0;
  for (const float v : x) highest = std::max(highest, std::abs(v));
  const float d = highest / 127;
  const float inverse = d == 0 ? 0 : 1 / d;
  for (float& v : x) v = std::round(v * inverse) * as_half(d);
}

void code_q4_0(std::span<float> x) {
  float extreme = 0;
  for (const float v : x) {
    if (std::abs(v) > std::abs(extreme)) extreme = v;
  }
  const float d = extreme / -8;
  const float inverse = d == 0 ? 0 : 1 / d;
  for (float& v : x) {
    const float level = std::clamp(std::floor(v * inverse + 8.5F), 0.0F, 15.0F);
    v = (level - 8) * as_half(d);
  }
}

void code_q4_1(std::span<float> x) {
  const auto [least, highest] = std::minmax_element(x.begin(), x.end());
  const float low = *least;
  const float d = (*highest - low) / 15;
  const float inverse = d == 0 ? 0 : 1 / d;
  for (float& v : x) {
    const float level = std::clamp(std::floor((v - low) * inverse + 0.5F), 0.0F, 15.0F);
    v = level * as_half(d) + as_half(low);
  }
}

}  // namespace

double GgmlBlock::bits_per_element(std::uint32_t) const {
  switch (type_) {
    case GgmlType::q8_0:
      return 8 + 16.0 / kBlock;
    case GgmlType::q4_0:
      return 4 + 16.0 / kBlock;
    case GgmlType::q4_1:
      return 4 + 32.0 / kBlock;
  }
  return 0;
}

void GgmlBlock::code(const HeadRows& in, std::span<float> out) const {
  KVAULT_ASSERT(in.head_dim % kBlock == 0 && (!rotated_ || in.head_dim % kRotated == 0));
  std::vector<float> x(in.rows.begin(), in.rows.end());
  const RowMap rotation(sylvester_rotation(kRotated), sylvester_rotation(kRotated));
  if (rotated_) rotation.forward(in.rows, x);
  for (std::size_t first = 0; first < x.size(); first += kBlock) {
    const std::span<float> block = std::span(x).subspan(first, kBlock);
    if (type_ == GgmlType::q8_0) code_q8_0(block);
    if (type_ == GgmlType::q4_0) code_q4_0(block);
    if (type_ == GgmlType::q4_1) code_q4_1(block);
  }
  if (rotated_) {
    rotation.inverse(x, out);
  } else {
    std::copy(x.begin(), x.end(), out.begin());
  }
}

}  // namespace kvault::eval
