#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "tests/support/random.hpp"

namespace kvault::torture {

/// Changes an input a little, as fuzzers do: bits, bytes, numbers at the edge, pieces moved, cut,
/// doubled or taken from another input.
void mutate(std::vector<std::byte>& bytes, std::span<const std::byte> other, test::Random& random);

}  // namespace kvault::torture
