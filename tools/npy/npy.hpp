#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"

namespace kvault::tools {

/// Element types of an array, named as NumPy names them; all little-endian.
enum class NpyType : std::uint8_t { b1, i1, u1, i2, u2, f2, i4, u4, f4, i8, u8, f8 };

std::string_view name_of(NpyType type) noexcept;
/// 1, 2, 4 or 8.
std::uint32_t size_bytes_of(NpyType type) noexcept;

/// An array in C order.
struct NpyArray {
  NpyType type = NpyType::f4;
  std::vector<std::uint64_t> shape;
  std::vector<std::byte> bytes;  ///< as many as type and shape say

  std::uint64_t n_element() const;
};

/// An array to write, borrowed.
struct NpyView {
  NpyType type = NpyType::f4;
  std::span<const std::uint64_t> shape;
  std::span<const std::byte> bytes;
};

/// Reads the bytes of a .npy file of version 1, 2 or 3. `name` leads the messages of errors:
/// Errc::unknown_format (magic, version, header), Errc::truncated, Errc::unsupported (element type,
/// big-endian, Fortran order), Errc::limit_exceeded (a shape beyond 2^63 bytes),
/// Errc::shape_mismatch (bytes behind the last element).
Result<NpyArray> parse_npy(std::span<const std::byte> file, std::string_view name);
/// parse_npy of a file; Errc::not_found and Errc::io besides.
Result<NpyArray> read_npy(const std::string& path);

/// The bytes of a file of version 1. Errc::shape_mismatch where bytes and shape disagree.
Result<std::vector<std::byte>> format_npy(const NpyView& array);
/// Writes format_npy to a file, replacing it. Errc::io.
Result<> write_npy(const std::string& path, const NpyView& array);

/// "[2, 300, 64]".
std::string format_shape(std::span<const std::uint64_t> shape);

}  // namespace kvault::tools
