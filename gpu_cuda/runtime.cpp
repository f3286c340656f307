#include "gpu_cuda/runtime.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/base/assert.hpp"
#include "core/codec/rotation.hpp"

namespace kvault::cuda {

Result<std::shared_ptr<Runtime>> Runtime::create(std::shared_ptr<const Context> context) {
  auto runtime = std::make_shared<Runtime>(std::move(context));
  KVAULT_TRY(std::unique_ptr<Stream> stream, Stream::create(runtime->context()));
  KVAULT_CHECK(runtime->set_up(std::move(stream)));
  return runtime;
}

Result<std::shared_ptr<Runtime>> Runtime::borrow(std::shared_ptr<const Context> context,
                                                 CUstream handle) {
  auto runtime = std::make_shared<Runtime>(std::move(context));
  KVAULT_TRY(std::unique_ptr<Stream> stream, Stream::borrow(runtime->context(), handle));
  KVAULT_CHECK(runtime->set_up(std::move(stream)));
  return runtime;
}

Result<> Runtime::set_up(std::unique_ptr<Stream> stream) {
  const Context::Scope scope(*context_);
  stream_ = std::move(stream);
  KVAULT_TRY(kernels_, Kernels::load(*context_));
  times_ = std::make_unique<LaunchTimes>(*context_);
  staging_ = std::make_unique<Staging>(*context_, *stream_);
  KVAULT_TRY(copies_, Stream::create(*context_));
  copy_staging_ = std::make_unique<Staging>(*context_, *copies_);
  CUmemPoolProps props = {};
  props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  props.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = context_->device()};
  KVAULT_CHECK(context_->check(api().cuMemPoolCreate(&pool_, &props), "a pool"));
  // What a call gives back stays with the pool for the next one.
  cuuint64_t keeps = std::numeric_limits<cuuint64_t>::max();
  return context_->check(
      api().cuMemPoolSetAttribute(pool_, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keeps), "a pool");
}

Runtime::~Runtime() {
  const Context::Scope scope(*context_);
  if (copies_ != nullptr) copies_->drain();
  if (stream_ != nullptr) stream_->drain();
  times_.reset();
  staging_.reset();
  copy_staging_.reset();
  for (const auto& [head_dim, table] : rotations_) release(table.memory);
  kept_tables_.reset();
  if (stream_ != nullptr) stream_->drain();
  if (pool_ != nullptr) (void)api().cuMemPoolDestroy(pool_);
  kernels_.reset();
  copies_.reset();
  stream_.reset();
}

Result<CUdeviceptr> Runtime::allocate(std::uint64_t size_bytes, Stream& stream) {
  KVAULT_CHECK(stream.check_alive());
  CUdeviceptr memory = 0;
  KVAULT_CHECK(
      stream.check(api().cuMemAllocFromPoolAsync(&memory, std::max<std::uint64_t>(size_bytes, 1),
                                                 pool_, stream.handle()),
                   message("allocating ", size_bytes, " bytes")));
  return memory;
}

void Runtime::release(CUdeviceptr memory) {
  const Context::Scope scope(*context_);
  (void)api().cuMemFreeAsync(memory, stream_->handle());
}

Result<> Runtime::download(std::span<std::byte> target, CUdeviceptr source) {
  KVAULT_CHECK(stream_->check_alive());
  for (std::uint64_t done = 0; done < target.size(); done += Staging::kChunkBytes) {
    const auto piece =
        target.subspan(done, std::min<std::uint64_t>(Staging::kChunkBytes, target.size() - done));
    KVAULT_TRY(std::byte* const staged, staging_->take(piece.size()));
    KVAULT_CHECK(stream_->check(
        api().cuMemcpyDtoHAsync(staged, source + done, piece.size(), stream_->handle()),
        "downloading"));
    stream_->when_done([staged, piece] { std::memcpy(piece.data(), staged, piece.size()); });
  }
  return {};
}

Result<> Runtime::fill_zero(CUdeviceptr memory, std::uint64_t size_bytes) {
  KVAULT_CHECK(stream_->check_alive());
  return stream_->check(api().cuMemsetD8Async(memory, 0, size_bytes, stream_->handle()),
                        "clearing memory");
}

Result<> Runtime::launch_bytes(Kernel kernel, void* params, std::uint64_t n_block) {
  KVAULT_CHECK(stream_->check_alive());
  if (n_block == 0) return {};
  KVAULT_ASSERT(n_block <= std::numeric_limits<std::int32_t>::max());
  times_->begin(stream_->handle());
  KVAULT_CHECK(stream_->check(
      api().cuLaunchKernel(kernels_->function(kernel), static_cast<unsigned>(n_block), 1, 1,
                           Kernels::n_thread(kernel), 1, 1, 0, stream_->handle(), &params, nullptr),
      "launching"));
  times_->end(kernel, stream_->handle());
  return {};
}

Result<RotationTable> Runtime::rotation(std::uint32_t head_dim) {
  const auto known = rotations_.find(head_dim);
  if (known != rotations_.end()) return known->second.table;
  const Rotation rotation(head_dim);
  const auto signs = std::as_bytes(rotation.scaled_signs());
  const auto paley = std::as_bytes(rotation.paley_signs());
  KVAULT_TRY(const CUdeviceptr memory, allocate(signs.size() + paley.size()));
  Result<> done = upload(memory, signs);
  if (done) done = upload(memory + signs.size(), paley);
  if (!done) {
    release(memory);
    return tl::unexpected(done.error());
  }
  const auto* const first = reinterpret_cast<const float*>(memory);
  const RotationTable table = {first, first + head_dim, head_dim, rotation.factors().paley_order};
  rotations_.emplace(head_dim, Table{memory, table});
  return table;
}

}  // namespace kvault::cuda
