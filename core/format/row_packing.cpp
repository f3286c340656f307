#include "core/format/row_packing.hpp"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

#include "core/base/assert.hpp"

namespace kvault {
namespace {

/// Packing is part of every save: level 1 finds what there is (exponents) at over 1 GB/s, and
/// higher levels find nothing more.
constexpr int kLevel = 1;

/// Elements at a time, between memory of their own: such loops the compiler makes vectors of.
constexpr std::size_t kStep = 64;
using BytesOfStep = std::array<std::uint8_t, kStep>;

template <std::size_t kByte, class Element>
BytesOfStep byte_of(const std::array<Element, kStep>& elements) {
  BytesOfStep bytes;
  for (std::size_t i = 0; i < kStep; ++i) {
    bytes[i] = static_cast<std::uint8_t>(elements[i] >> (8 * kByte));
  }
  return bytes;
}

template <class Element, std::size_t... kByte>
std::array<BytesOfStep, sizeof(Element)> decompose(const std::array<Element, kStep>& elements,
                                                   std::index_sequence<kByte...>) {
  return {byte_of<kByte>(elements)...};
}

/// Elements of their bytes, kByte = 0, 1, ...
template <class Element, std::size_t... kByte>
std::array<Element, kStep> compose(const std::array<BytesOfStep, sizeof(Element)>& bytes,
                                   std::index_sequence<kByte...>) {
  std::array<Element, kStep> elements;
  for (std::size_t i = 0; i < kStep; ++i) {
    elements[i] = static_cast<Element>((... | (Element{bytes[kByte][i]} << (8 * kByte))));
  }
  return elements;
}

/// Byte 0 of every element, then byte 1 of every element, ...
template <class Element>
void split(std::span<const std::byte> rows, std::span<std::byte> planes) {
  const std::size_t n_element = rows.size() / sizeof(Element);
  for (std::size_t first = 0; first < n_element; first += kStep) {
    const std::size_t n = std::min(kStep, n_element - first);
    std::array<Element, kStep> elements{};
    std::memcpy(elements.data(), rows.data() + first * sizeof(Element), n * sizeof(Element));
    const std::array<BytesOfStep, sizeof(Element)> bytes =
        decompose(elements, std::make_index_sequence<sizeof(Element)>());
    for (std::size_t byte = 0; byte < sizeof(Element); ++byte) {
      std::memcpy(planes.data() + byte * n_element + first, bytes[byte].data(), n);
    }
  }
}

template <class Element>
void join(std::span<const std::byte> planes, std::span<std::byte> rows) {
  const std::size_t n_element = rows.size() / sizeof(Element);
  for (std::size_t first = 0; first < n_element; first += kStep) {
    const std::size_t n = std::min(kStep, n_element - first);
    std::array<BytesOfStep, sizeof(Element)> bytes{};
    for (std::size_t byte = 0; byte < sizeof(Element); ++byte) {
      std::memcpy(bytes[byte].data(), planes.data() + byte * n_element + first, n);
    }
    const std::array<Element, kStep> elements =
        compose<Element>(bytes, std::make_index_sequence<sizeof(Element)>());
    std::memcpy(rows.data() + first * sizeof(Element), elements.data(), n * sizeof(Element));
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

void FreePackingContext::operator()(ZSTD_CCtx_s* context) const noexcept { ZSTD_freeCCtx(context); }
void FreePackingContext::operator()(ZSTD_DCtx_s* context) const noexcept { ZSTD_freeDCtx(context); }

std::span<const std::byte> RowPacker::pack(std::span<const std::byte> rows,
                                           std::size_t element_bytes, std::size_t size_bytes_max) {
  KVAULT_ASSERT(rows.size() % element_bytes == 0);
  if (context_ == nullptr) context_.reset(ZSTD_createCCtx());
  if (context_ == nullptr) return {};
  planes_.resize(rows.size());
  split_planes(rows, element_bytes, planes_);
  const std::size_t plane_bytes = rows.size() / element_bytes;
  packed_.resize(element_bytes * ZSTD_compressBound(plane_bytes));
  std::size_t size_bytes = 0;
  // A frame each: a block of Zstandard's has one code for all its bytes, and planes differ.
  for (std::size_t at = 0; at < planes_.size(); at += plane_bytes) {
    const std::size_t size =
        ZSTD_compressCCtx(context_.get(), packed_.data() + size_bytes, packed_.size() - size_bytes,
                          planes_.data() + at, plane_bytes, kLevel);
    if (ZSTD_isError(size) != 0) return {};
    size_bytes += size;
  }
  if (size_bytes > size_bytes_max) return {};
  return std::span(packed_).first(size_bytes);
}

Result<> RowUnpacker::unpack(std::span<const std::byte> packed, std::size_t element_bytes,
                             std::span<std::byte> rows) {
  KVAULT_ASSERT(rows.size() % element_bytes == 0);
  if (context_ == nullptr) context_.reset(ZSTD_createDCtx());
  if (context_ == nullptr) throw std::bad_alloc();
  planes_.resize(rows.size());
  const std::size_t size_bytes = ZSTD_decompressDCtx(context_.get(), planes_.data(), planes_.size(),
                                                     packed.data(), packed.size());
  if (ZSTD_isError(size_bytes) != 0) {
    return fail(Errc::corrupt, message(packed.size(), " packed bytes do not unpack to ",
                                       rows.size(), ": ", ZSTD_getErrorName(size_bytes)));
  }
  if (size_bytes != planes_.size()) {
    return fail(Errc::corrupt, message(packed.size(), " packed bytes are ", size_bytes,
                                       " unpacked, not ", rows.size()));
  }
  join_planes(planes_, element_bytes, rows);
  return {};
}

}  // namespace kvault
