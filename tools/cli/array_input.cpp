#include "tools/cli/array_input.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/assert.hpp"
#include "core/base/half.hpp"

namespace kvault::tools {
namespace {

constexpr std::uint64_t kDimensionMax = std::numeric_limits<std::uint32_t>::max();

float element_at(const NpyArray& array, std::size_t index) {
  if (array.type == NpyType::f2) {
    Half half;
    std::memcpy(&half.bits, array.bytes.data() + 2 * index, 2);
    return to_float(half);
  }
  float value = 0;
  std::memcpy(&value, array.bytes.data() + 4 * index, 4);
  return value;
}

}  // namespace

Result<NamedArray> read_rows_array(const std::string& path, std::string_view words) {
  NamedArray rows{path, {}};
  KVAULT_TRY(rows.array, read_npy(path));
  if (rows.array.shape.size() != 3) {
    return fail(Errc::shape_mismatch,
                message(path, ": shape ", format_shape(rows.array.shape), " is not ", words));
  }
  for (const std::uint64_t n : rows.array.shape) {
    if (n <= kDimensionMax) continue;
    return fail(Errc::limit_exceeded,
                message(path, ": shape ", format_shape(rows.array.shape), " exceeds 2^32"));
  }
  KVAULT_CHECK(row_type_of(rows));
  return rows;
}

Result<kvault_row_type> row_type_of(const NamedArray& rows) {
  if (rows.array.type == NpyType::f2) return KVAULT_F16;
  if (rows.array.type == NpyType::f4) return KVAULT_F32;
  return fail(Errc::type_mismatch,
              message(rows.name, ": elements are ", name_of(rows.array.type), ", not f2 or f4"));
}

Result<> check_finite(const NamedArray& rows, std::uint64_t n_valid) {
  const NpyArray& array = rows.array;
  KVAULT_ASSERT(array.shape.size() == 3 && n_valid <= array.shape[1]);
  const std::uint64_t n_row = array.shape[1];
  const std::uint64_t dim = array.shape[2];
  for (std::uint64_t head = 0; head < array.shape[0]; ++head) {
    for (std::uint64_t i = 0; i < n_valid * dim; ++i) {
      const float value = element_at(array, head * n_row * dim + i);
      if (std::isfinite(value)) continue;
      return fail(Errc::not_finite,
                  message(rows.name, ": element [", head, ", ", i / dim, ", ", i % dim, "] is ",
                          std::isnan(value) ? "NaN" : "infinite"));
    }
  }
  return {};
}

std::vector<float> to_floats(const NpyArray& array) {
  KVAULT_ASSERT(array.type == NpyType::f2 || array.type == NpyType::f4);
  std::vector<float> values(array.n_element());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = element_at(array, i);
  return values;
}

std::vector<float> swap_outer(std::span<const float> from, std::span<const std::uint64_t> shape) {
  KVAULT_ASSERT(shape.size() == 3 && from.size() == shape[0] * shape[1] * shape[2]);
  std::vector<float> to(from.size());
  for (std::uint64_t a = 0; a < shape[0]; ++a) {
    for (std::uint64_t b = 0; b < shape[1]; ++b) {
      for (std::uint64_t i = 0; i < shape[2]; ++i) {
        to[(b * shape[0] + a) * shape[2] + i] = from[(a * shape[1] + b) * shape[2] + i];
      }
    }
  }
  return to;
}

}  // namespace kvault::tools
