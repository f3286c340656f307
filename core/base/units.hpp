#pragma once

#include <compare>
#include <cstdint>

namespace kvault {

/// An integer that knows what it counts; two kinds never mix. `.raw` for arithmetic in kernels.
template <class Tag, class Raw>
struct Unit {
  Raw raw = 0;
  constexpr Unit() = default;
  constexpr explicit Unit(Raw value) : raw(value) {}
  friend constexpr auto operator<=>(const Unit&, const Unit&) = default;
  friend constexpr Unit operator+(Unit a, Unit b) { return Unit(a.raw + b.raw); }
  friend constexpr Unit operator-(Unit a, Unit b) { return Unit(a.raw - b.raw); }
};

/// A position in a session, or a number of tokens before a position.
using Tokens = Unit<struct TokensTag, std::uint64_t>;
/// The index of a page: tokens [128 * raw, 128 * raw + 128).
using PageIndex = Unit<struct PageIndexTag, std::uint64_t>;
/// The index of a layer of the model.
using LayerIndex = Unit<struct LayerIndexTag, std::uint32_t>;

}  // namespace kvault
