#pragma once

#include <memory>

#include "core/device/engine_memory.hpp"
#include "gpu_cuda/runtime.hpp"

namespace kvault::cuda {

/// Memory of the context that an engine lends; work on its stream.
class LentMemory final : public EngineMemory {
 public:
  LentMemory(std::shared_ptr<Runtime> runtime, bool rows_are_finite)
      : runtime_(std::move(runtime)), rows_are_finite_(rows_are_finite) {}

  const std::shared_ptr<Runtime>& runtime() const { return runtime_; }

  Result<> check(std::string_view name, const void* address, std::uint64_t size_bytes,
                 std::uint64_t alignment_bytes) override;
  Result<> check_queue() override;
  Result<std::optional<RowElement>> find_not_finite(const EngineRows& rows) override;
  Result<> gather(const EngineRows& rows, Buffer& target, const EngineRowsTarget& place) override;
  Result<> read(const void* source, std::span<std::byte> target) override;

 private:
  std::shared_ptr<Runtime> runtime_;
  bool rows_are_finite_;
};

}  // namespace kvault::cuda
