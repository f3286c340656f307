#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "core/base/result.hpp"
#include "core/device/device.hpp"
#include "core/os/file.hpp"
#include "core/os/mapping.hpp"

namespace kvault {

/// A pack of a store, mapped for reading. As long as it lives it holds a shared lock of the file,
/// by which kvaultd knows that the pack is still read and must not go.
class MappedPack {
 public:
  /// Errc::not_found or busy: the pack is going, and kvaultd knows where its records are now.
  /// Errc::truncated: it ends before size_bytes_min.
  static Result<std::shared_ptr<MappedPack>> open(const std::filesystem::path& path,
                                                  std::uint64_t size_bytes_min);

  const Mapping& mapping() const { return mapping_; }
  /// Lets the device read the mapping where it lies. A driver may refuse one pack, say for its
  /// size: buffer() stays null then, which is no error.
  Result<> adopt(Device& device);
  /// Null where the device did not adopt it. Lives as long as the pack.
  const Buffer* buffer() const { return buffer_.get(); }

 private:
  File file_;
  Mapping mapping_;
  std::unique_ptr<Buffer> buffer_;
};

}  // namespace kvault
