#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/base/result.hpp"

namespace kvault::llama {

/// Element types of a llama.cpp cache, by ggml's numbers (ggml.h, enum ggml_type). Rows of a type
/// with `can_convert` are read and written as numbers; others are only kept verbatim.
struct GgmlType {
  std::int32_t number = -1;
  const char* name = "?";
  std::uint32_t block_elements = 1;
  std::uint32_t block_bytes = 0;
  bool is_quantised = false;
  bool can_convert = false;

  /// pre: n_element is a multiple of block_elements
  std::uint64_t row_bytes(std::uint64_t n_element) const {
    return n_element / block_elements * block_bytes;
  }
  /// Elements of a row of so many bytes; 0 where no row has that size.
  std::uint64_t elements_of(std::uint64_t row_bytes) const {
    return row_bytes % block_bytes == 0 ? row_bytes / block_bytes * block_elements : 0;
  }
};

inline constexpr std::int32_t kGgmlF32 = 0;
inline constexpr std::int32_t kGgmlF16 = 1;
inline constexpr std::int32_t kGgmlQ4_0 = 2;
inline constexpr std::int32_t kGgmlQ8_0 = 8;
inline constexpr std::int32_t kGgmlBf16 = 30;

/// Errc::unknown_format names the number.
Result<GgmlType> find_ggml_type(std::int32_t number);

/// One row, as numbers. pre: type.can_convert, sizes fit
void decode_row(const GgmlType& type, std::span<const std::byte> row, std::span<float> values);
/// As ggml's reference quantisers round (ggml-quants.c, quantize_row_*_ref).
/// pre: type.can_convert, sizes fit
void encode_row(const GgmlType& type, std::span<const float> values, std::span<std::byte> row);

/// The orthonormal Walsh-Hadamard transform in Sylvester's order, of each run of `size` values; its
/// own inverse. pre: size is a power of two and divides values.size()
void rotate_rows(std::span<float> values, std::size_t size);

}  // namespace kvault::llama
