#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "core/base/result.hpp"

/// Raw rows without the bits that say nothing (docs/format.md, section 4, "Packed chunks"). Keys
/// and values of a model are near a Gaussian: of 16 bits their exponents and signs carry
/// about 13.6.
struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace kvault {

struct FreePackingContext {
  void operator()(ZSTD_CCtx_s* context) const noexcept;
  void operator()(ZSTD_DCtx_s* context) const noexcept;
};

/// Packs rows, one after the other, in memory of its own that it keeps. One thread at a time.
class RowPacker {
 public:
  /// `rows` (elements of element_bytes each) in fewer bytes, the same for the same rows and
  /// library, until the next call; empty where they would not become at most size_bytes_max.
  /// pre: element_bytes is 2 or 4 and divides rows.size()
  std::span<const std::byte> pack(std::span<const std::byte> rows, std::size_t element_bytes,
                                  std::size_t size_bytes_max);

 private:
  std::unique_ptr<ZSTD_CCtx_s, FreePackingContext> context_;
  std::vector<std::byte> planes_;
  std::vector<std::byte> packed_;
};

/// Its inverse, likewise in memory that it keeps: a context of Zstandard's own for every call takes
/// longer than a small page of rows. One thread at a time.
class RowUnpacker {
 public:
  /// Fills `rows` with what was packed. Errc::corrupt where it is not exactly that many bytes;
  /// `rows` holds anything then. Reads and writes nothing beyond its arguments, whatever they hold.
  /// Throws std::bad_alloc. pre: element_bytes is 2 or 4 and divides rows.size()
  Result<> unpack(std::span<const std::byte> packed, std::size_t element_bytes,
                  std::span<std::byte> rows);

 private:
  std::unique_ptr<ZSTD_DCtx_s, FreePackingContext> context_;
  std::vector<std::byte> planes_;
};

}  // namespace kvault
