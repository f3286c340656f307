#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/cache/cache.hpp"
#include "core/device/engine_memory.hpp"

namespace kvault::c {

/// The memory of an engine's that a call names: every range is checked as it is added, and written
/// ones overlap no other.
class EngineRanges {
 public:
  explicit EngineRanges(EngineMemory& memory) : memory_(memory) {}

  /// Of one side. invalid_argument, out_of_range: strides, address, size.
  Result<> add_rows(std::string_view name, const RowsView& rows);
  /// q, out and lse.
  Result<> add_request(const AttendRequest& request);

 private:
  struct Range {
    std::string_view name;
    std::uintptr_t begin;
    std::uint64_t size_bytes;
  };
  Result<> add(std::string_view name, const void* address, std::uint64_t size_bytes,
               std::uint64_t alignment_bytes, bool is_written);

  EngineMemory& memory_;
  std::vector<Range> ranges_;
};

}  // namespace kvault::c
