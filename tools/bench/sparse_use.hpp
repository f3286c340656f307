#pragma once

#include <cstdint>
#include <string_view>

#include "core/device/device.hpp"
#include "tools/bench/layer_set.hpp"

namespace kvault::tools {

/// Whether a variant leaves out values: off, or on with nothing or everything there to leave out.
enum class SparseUse : std::uint8_t { off, none_left_out, all_left_out };

/// "none left out", "all left out"; off: "".
constexpr std::string_view name_of(SparseUse use) {
  if (use == SparseUse::off) return "";
  return use == SparseUse::none_left_out ? "none left out" : "all left out";
}

/// What to ask a device for.
constexpr SparseValues sparse_values_of(SparseUse use) {
  // Below what any page of spread attention holds, and far above what one holds beside a first page
  // that has everything.
  constexpr float kNothingToLeaveOut = 1e-12F;
  constexpr float kAllToLeaveOut = 1e-3F;
  if (use == SparseUse::off) return {};
  return {use == SparseUse::none_left_out ? kNothingToLeaveOut : kAllToLeaveOut, 0};
}

/// What the layers have to look like for it.
constexpr Attention attention_of(SparseUse use) {
  return use == SparseUse::all_left_out ? Attention::first_page : Attention::spread;
}

}  // namespace kvault::tools
