#include "core/codec/codebook.hpp"

#include <array>
#include <cmath>

#include "core/base/assert.hpp"
#include "core/layout/block_abi.inc"

namespace kvault {
namespace {

constexpr std::array<std::uint8_t, 16> kLevels4 = {KVAULT_TQ4_TABLE};
constexpr std::array<std::uint8_t, 8> kLevels3 = {KVAULT_TQ3_TABLE};
constexpr std::array<std::uint8_t, 4> kLevels2 = {KVAULT_TQ2_TABLE};

}  // namespace

Codebook Codebook::of(Scheme scheme) {
  constexpr auto kCentre = static_cast<float>(KVAULT_TABLE_CENTRE);
  switch (scheme) {
    case Scheme::tq4:
      return {kLevels4, kCentre, static_cast<float>(KVAULT_TQ4_STEP)};
    case Scheme::tq3:
      return {kLevels3, kCentre, static_cast<float>(KVAULT_TQ3_STEP)};
    case Scheme::tq2:
      return {kLevels2, kCentre, static_cast<float>(KVAULT_TQ2_STEP)};
    case Scheme::q8:
      return {};
    case Scheme::raw:
      break;
  }
  KVAULT_ASSERT(scheme != Scheme::raw);
  return {};
}

float Codebook::step(Scheme scheme, std::uint32_t head_dim) {
  if (scheme == Scheme::q8) return 1.0F / static_cast<float>(KVAULT_Q8_CODE_MAX);
  return of(scheme).step_times_sqrt_dim / std::sqrt(static_cast<float>(head_dim));
}

}  // namespace kvault
