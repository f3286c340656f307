#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "core/base/result.hpp"
#include "core/os/file.hpp"

namespace kvault {

/// Read-only shared memory of a file's bytes; outlives the File. Move-only. Bytes that another
/// process writes later appear; a file cut shorter than the mapping faults when read, which is why
/// packs are never cut.
class Mapping {
 public:
  /// The bytes [0, size_bytes). Errc::truncated where the file is shorter.
  static Result<Mapping> create(const File& file, std::uint64_t size_bytes);

  Mapping() = default;
  Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  std::span<const std::byte> bytes() const noexcept { return bytes_; }

  /// Begins to read these bytes into memory and does not wait: a hint, of which the system may take
  /// no notice. Parts beyond the mapping are left out.
  void will_need(std::uint64_t offset_bytes, std::uint64_t size_bytes) const noexcept;

 private:
  explicit Mapping(std::span<const std::byte> bytes) : bytes_(bytes) {}
  void unmap() noexcept;

  std::span<const std::byte> bytes_;
};

}  // namespace kvault
