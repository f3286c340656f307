#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/half.hpp"

namespace kvault {

/// Learns how to equalise the key channels of one kv head: keys are multiplied by e before they are
/// rotated, queries divided. e_i = (E[q_i^2] / Var[k_i])^(1/4), scaled to geometric mean 1, clamped
/// to [1/64, 64], rounded to f16; 1 where either statistic is zero. It makes the codec blind to how
/// a model scales its key channels (with queries scaled inversely).
/// q_energy [head_dim]: mean of q_i^2 over tokens and the group's heads. key_variance [head_dim]:
/// over tokens.
std::vector<Half> learn_equaliser(std::span<const double> q_energy,
                                  std::span<const double> key_variance);

/// Whether every entry is finite, positive and a normal number.
bool is_valid_equaliser(std::span<const Half> equaliser);

}  // namespace kvault
