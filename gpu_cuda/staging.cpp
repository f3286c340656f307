#include "gpu_cuda/staging.hpp"

#include <algorithm>
#include <cstring>

#include "core/base/assert.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault::cuda {
namespace {

constexpr std::uint64_t kAlignmentBytes = 64;

}  // namespace

Staging::~Staging() {
  const Context::Scope scope(context_);
  for (const Chunk& chunk : chunks_) {
    if (chunk.memory != nullptr) (void)context_.api().cuMemFreeHost(chunk.memory);
  }
}

/// What the chunk was used for ends a stretch, so that who takes it next waits for no more.
Result<> Staging::open_next() {
  if (chunks_[open_].value == stream_.open_value()) KVAULT_CHECK(stream_.mark());
  open_ = (open_ + 1) % chunks_.size();
  Chunk& chunk = chunks_[open_];
  KVAULT_CHECK(stream_.wait(chunk.value));
  chunk.used_bytes = 0;
  return {};
}

Result<std::byte*> Staging::take(std::uint64_t size_bytes) {
  KVAULT_ASSERT(size_bytes <= kChunkBytes);
  if (chunks_[open_].used_bytes + size_bytes > kChunkBytes) KVAULT_CHECK(open_next());
  Chunk& chunk = chunks_[open_];
  if (chunk.memory == nullptr) {
    void* memory = nullptr;
    KVAULT_CHECK(stream_.check(context_.api().cuMemHostAlloc(&memory, kChunkBytes, 0),
                               "allocating pinned memory"));
    chunk.memory = static_cast<std::byte*>(memory);
  }
  std::byte* const taken = chunk.memory + chunk.used_bytes;
  chunk.used_bytes += align_up(size_bytes, kAlignmentBytes);
  chunk.value = stream_.open_value();
  return taken;
}

Result<> Staging::upload(CUdeviceptr target, std::span<const std::byte> source) {
  KVAULT_CHECK(stream_.check_alive());
  for (std::uint64_t done = 0; done < source.size(); done += kChunkBytes) {
    const auto piece =
        source.subspan(done, std::min<std::uint64_t>(kChunkBytes, source.size() - done));
    KVAULT_TRY(std::byte* const staged, take(piece.size()));
    std::memcpy(staged, piece.data(), piece.size());
    KVAULT_CHECK(stream_.check(
        context_.api().cuMemcpyHtoDAsync(target + done, staged, piece.size(), stream_.handle()),
        "uploading"));
  }
  return {};
}

}  // namespace kvault::cuda
