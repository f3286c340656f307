#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/base/result.hpp"
#include "core/device/device.hpp"
#include "core/layout/scheme.hpp"

namespace kvault {

/// Rows [n_token, n_head, head_dim] of an engine's in the device's memory. Elements of a row are
/// dense; `data` is an address there, which the host never follows.
struct EngineRows {
  const std::byte* data = nullptr;
  RowType type = RowType::f16;
  std::uint32_t n_token = 0;
  std::uint32_t n_head = 0;
  std::uint32_t head_dim = 0;
  std::int64_t token_stride_bytes = 0;
  std::int64_t head_stride_bytes = 0;
};

/// Where rows go in a buffer: heads stand apart, the rows of a head are dense.
struct EngineRowsTarget {
  std::uint64_t offset_bytes = 0;
  std::uint64_t head_stride_bytes = 0;
};

/// An element of rows.
struct RowElement {
  std::uint32_t token = 0;
  std::uint32_t head = 0;
  std::uint32_t channel = 0;
};

/// What a device whose memory an engine shares does with addresses of the engine's. Work is
/// enqueued on the engine's own queue, on the timeline of the device's verbs.
class EngineMemory {
 public:
  EngineMemory() = default;
  EngineMemory(const EngineMemory&) = delete;
  EngineMemory& operator=(const EngineMemory&) = delete;
  virtual ~EngineMemory() = default;

  /// Whether bytes [address, address + size) are memory of this device, aligned so; an error calls
  /// them `name`.
  virtual Result<> check(std::string_view name, const void* address, std::uint64_t size_bytes,
                         std::uint64_t alignment_bytes) = 0;
  /// Whether work can be enqueued by the calls of this class and by attend.
  virtual Result<> check_queue() = 0;
  /// The first element that is NaN or infinite. Waits for the device, unless the engine vouches for
  /// its rows: then nothing is looked at.
  virtual Result<std::optional<RowElement>> find_not_finite(const EngineRows& rows) = 0;
  /// Copies rows into a buffer of the device's own. Nothing is waited for: the rows may be written
  /// again by what the engine enqueues afterwards.
  virtual Result<> gather(const EngineRows& rows, Buffer& target,
                          const EngineRowsTarget& place) = 0;
  /// Copies to the host, and waits.
  virtual Result<> read(const void* source, std::span<std::byte> target) = 0;
};

}  // namespace kvault
