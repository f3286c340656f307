#include "core/format/row_packing.hpp"

#include <zstd.h>

#include <cstring>

#include "core/base/assert.hpp"

namespace kvault {
namespace {

/// Packing is part of every save: level 1 finds what there is (exponents) at over 1 GB/s, and
/// higher levels find nothing more.
constexpr int kLevel = 1;

/// Byte 0 of every element, then byte 1 of every element, ...
template <class Element>
void split(std::span<const std::byte> rows, std::span<std::byte> planes) {
  const std::size_t n = rows.size() / sizeof(Element);
  for (std::size_t byte = 0; byte < sizeof(Element); ++byte) {
    std::byte* const plane = planes.data() + byte * n;
    for (std::size_t i = 0; i < n; ++i) {
      Element element;
      std::memcpy(&element, rows.data() + i * sizeof element, sizeof element);
      plane[i] = static_cast<std::byte>(element >> (8 * byte));
    }
  }
}

template <class Element>
void join(std::span<const std::byte> planes, std::span<std::byte> rows) {
  const std::size_t n = rows.size() / sizeof(Element);
  for (std::size_t i = 0; i < n; ++i) {
    Element element = 0;
    for (std::size_t byte = 0; byte < sizeof(Element); ++byte) {
      const auto value = std::to_integer<Element>(planes[byte * n + i]);
      element = static_cast<Element>(element | (value << (8 * byte)));
    }
    std::memcpy(rows.data() + i * sizeof element, &element, sizeof element);
  }
}

void split_planes(std::span<const std::byte> rows, std::size_t element_bytes,
                  std::span<std::byte> planes) {
  KVAULT_ASSERT(element_bytes == 2 || element_bytes == 4);
  if (element_bytes == 2) return split<std::uint16_t>(rows, planes);
  split<std::uint32_t>(rows, planes);
}

void join_planes(std::span<const std::byte> planes, std::size_t element_bytes,
                 std::span<std::byte> rows) {
  KVAULT_ASSERT(element_bytes == 2 || element_bytes == 4);
  if (element_bytes == 2) return join<std::uint16_t>(planes, rows);
  join<std::uint32_t>(planes, rows);
}

}  // namespace

std::span<const std::byte> RowPacker::pack(std::span<const std::byte> rows,
                                           std::size_t element_bytes, std::size_t size_bytes_max) {
  KVAULT_ASSERT(rows.size() % element_bytes == 0);
  planes_.resize(rows.size());
  split_planes(rows, element_bytes, planes_);
  const std::size_t plane_bytes = rows.size() / element_bytes;
  packed_.resize(element_bytes * ZSTD_compressBound(plane_bytes));
  std::size_t size_bytes = 0;
  // A frame each: a block of Zstandard's has one code for all its bytes, and planes differ.
  for (std::size_t at = 0; at < planes_.size(); at += plane_bytes) {
    const std::size_t size = ZSTD_compress(packed_.data() + size_bytes, packed_.size() - size_bytes,
                                           planes_.data() + at, plane_bytes, kLevel);
    if (ZSTD_isError(size) != 0) return {};
    size_bytes += size;
  }
  if (size_bytes > size_bytes_max) return {};
  return std::span(packed_).first(size_bytes);
}

Result<> unpack_rows(std::span<const std::byte> packed, std::size_t element_bytes,
                     std::span<std::byte> rows) {
  KVAULT_ASSERT(rows.size() % element_bytes == 0);
  std::vector<std::byte> planes(rows.size());
  const std::size_t size_bytes =
      ZSTD_decompress(planes.data(), planes.size(), packed.data(), packed.size());
  if (ZSTD_isError(size_bytes) != 0) {
    return fail(Errc::corrupt, message(packed.size(), " packed bytes do not unpack to ",
                                       rows.size(), ": ", ZSTD_getErrorName(size_bytes)));
  }
  if (size_bytes != planes.size()) {
    return fail(Errc::corrupt, message(packed.size(), " packed bytes are ", size_bytes,
                                       " unpacked, not ", rows.size()));
  }
  join_planes(planes, element_bytes, rows);
  return {};
}

}  // namespace kvault
