#include "gpu_cuda/staging.hpp"

#include <algorithm>
#include <cstring>
#include <thread>

#include "core/base/assert.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault::cuda {
namespace {

constexpr std::uint64_t kAlignmentBytes = 64;
/// What a thread copies at once: below it, waking one takes longer.
constexpr std::uint64_t kSliceBytes = std::uint64_t{1} << 20U;
/// Threads that copy at most. One core copies about 10 GB/s, a bus takes 12 to 55.
constexpr std::uint32_t kCopiersMax = 4;

std::uint32_t n_copier() {
  return std::clamp(std::thread::hardware_concurrency(), 1U, kCopiersMax);
}

}  // namespace

Staging::Staging(const Context& context, Stream& stream) : context_(context), stream_(stream) {}

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

void Staging::copy(std::byte* target, std::span<const std::byte> source) {
  if (source.size() < 2 * kSliceBytes) {
    std::memcpy(target, source.data(), source.size());
    return;
  }
  if (!copiers_) copiers_ = std::make_unique<ThreadPool>(n_copier());
  const std::uint64_t n_slice = (source.size() + kSliceBytes - 1) / kSliceBytes;
  copiers_->run(static_cast<std::uint32_t>(n_slice), [&](std::uint32_t slice, std::uint32_t) {
    const std::uint64_t first = slice * kSliceBytes;
    const auto piece = source.subspan(first, std::min(kSliceBytes, source.size() - first));
    std::memcpy(target + first, piece.data(), piece.size());
  });
}

Result<> Staging::upload(CUdeviceptr target, std::span<const std::byte> source) {
  KVAULT_CHECK(stream_.check_alive());
  for (std::uint64_t done = 0; done < source.size(); done += kChunkBytes) {
    const auto piece =
        source.subspan(done, std::min<std::uint64_t>(kChunkBytes, source.size() - done));
    KVAULT_TRY(std::byte* const staged, take(piece.size()));
    copy(staged, piece);
    KVAULT_CHECK(stream_.check(
        context_.api().cuMemcpyHtoDAsync(target + done, staged, piece.size(), stream_.handle()),
        "uploading"));
  }
  return {};
}

}  // namespace kvault::cuda
