#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "kvault/kvault.h"
#include "tools/npy/npy.hpp"

namespace kvault::tools {

/// An array from a file, and the name that leads its errors.
struct NamedArray {
  std::string name;
  NpyArray array;
};

/// What a rank-3 array must be: words for its dimensions, "[n_kv_head, n_token, head_dim]".
Result<NamedArray> read_rows_array(const std::string& path, std::string_view words);

/// KVAULT_F16 or KVAULT_F32. Errc::type_mismatch for all others.
Result<kvault_row_type> row_type_of(const NamedArray& rows);

/// Every element of rows [.., first n_valid of dimension 1, ..] of a rank-3 f2 or f4 array is
/// finite; else Errc::not_finite with the place of the first that is not.
Result<> check_finite(const NamedArray& rows, std::uint64_t n_valid);

/// The elements of an f2 or f4 array.
std::vector<float> to_floats(const NpyArray& array);

/// [a, b, dim] to [b, a, dim].
std::vector<float> swap_outer(std::span<const float> from, std::span<const std::uint64_t> shape);

}  // namespace kvault::tools
