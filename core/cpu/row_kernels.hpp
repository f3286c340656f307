#pragma once

#include <cstddef>

#include "core/codec/rotation.hpp"
#include "core/cpu/instruction_set.hpp"

namespace kvault::cpu {

/// What is done to rows of floats in place, for one instruction set. Immutable; any thread may call
/// the functions. rows [n_row, stride], of which the first head_dim of a row count; no alignment is
/// asked for. The same rows give the same bits whatever else is in the call.
struct RowKernels {
  /// x becomes H S x.
  void (*rotate)(const Rotation& rotation, float* rows, std::size_t n_row, std::size_t stride);
  /// y becomes S H^T y, so that it undoes rotate.
  void (*rotate_inverse)(const Rotation& rotation, float* rows, std::size_t n_row,
                         std::size_t stride);
};

/// pre: this build holds the set and is_supported(set)
const RowKernels& row_kernels(InstructionSet set);

}  // namespace kvault::cpu
