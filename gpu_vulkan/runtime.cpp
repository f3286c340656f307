#include "gpu_vulkan/runtime.hpp"

#include <vector>

#include "core/base/assert.hpp"
#include "core/codec/rotation.hpp"

namespace kvault::vulkan {
namespace {

constexpr std::uint64_t kPiecesInFlight = 4;

}  // namespace

AttendPath AttendPath::of(const Context& context) {
  return {.is_specialised = context.adapter().type != VK_PHYSICAL_DEVICE_TYPE_CPU,
          .uses_dot_product = context.has_dot_product() && context.adapter().is_dot_product_fast};
}

Result<std::shared_ptr<Runtime>> Runtime::create(std::shared_ptr<const Context> context) {
  auto runtime = std::make_shared<Runtime>(std::move(context));
  KVAULT_TRY(runtime->stream_, Stream::create(*runtime->context_));
  for (std::size_t kind = 0; kind < kMemoryKinds; ++kind) {
    runtime->arenas_[kind] = std::make_unique<Arena>(runtime->pools_[kind], *runtime->stream_);
  }
  KVAULT_TRY(runtime->pipelines_,
             Pipelines::create(*runtime->context_,
                               Pipelines::cache_file_of(runtime->context_->adapter())));
  return runtime;
}

Runtime::Runtime(std::shared_ptr<const Context> context)
    : context_(std::move(context)),
      attend_path_(AttendPath::of(*context_)),
      pools_{{*context_, MemoryKind::device},
             {*context_, MemoryKind::upload},
             {*context_, MemoryKind::download}} {}

/// Nothing is freed while the device may still use it.
Runtime::~Runtime() {
  if (stream_ != nullptr) stream_->drain();
}

Result<VkDeviceAddress> Runtime::rotation(std::uint32_t head_dim) {
  const auto known = rotations_.find(head_dim);
  if (known != rotations_.end()) return known->second.address;
  const Rotation rotation(head_dim);
  std::vector<float> table(rotation.scaled_signs().begin(), rotation.scaled_signs().end());
  table.insert(table.end(), rotation.paley_signs().begin(), rotation.paley_signs().end());
  const std::span<const std::byte> bytes = std::as_bytes(std::span(table));
  KVAULT_TRY(const MemoryRange staged, stage(MemoryKind::upload, bytes.size()));
  std::memcpy(staged.host, bytes.data(), bytes.size());
  KVAULT_TRY(const MemoryRange target, pool(MemoryKind::device).take(bytes.size()));
  KVAULT_CHECK(copy(staged, 0, target, 0, bytes.size()));
  KVAULT_CHECK(stream_->barrier());
  rotations_[head_dim] = target;
  return target.address;
}

Result<MemoryRange> Runtime::stage(MemoryKind kind, std::uint64_t size_bytes) {
  return arenas_[static_cast<std::size_t>(kind)]->take(size_bytes);
}

Result<> Runtime::pace(std::uint64_t size_bytes) {
  const std::uint64_t value = stream_->open_value();
  paced_bytes_ = (paced_value_ == value ? paced_bytes_ : 0) + size_bytes;
  paced_value_ = value;
  if (paced_bytes_ < kPieceSizeBytes) return {};
  KVAULT_CHECK(stream_->submit());
  return value <= kPiecesInFlight ? Result<>() : stream_->wait(value - kPiecesInFlight);
}

Result<MemoryRange> Runtime::scratch(std::uint64_t size_bytes) {
  return stage(MemoryKind::device, size_bytes);
}

Result<VkDeviceAddress> Runtime::put_bytes(std::span<const std::byte> bytes) {
  KVAULT_TRY(const MemoryRange staged, stage(MemoryKind::upload, bytes.size()));
  if (!bytes.empty()) std::memcpy(staged.host, bytes.data(), bytes.size());
  if (context_->adapter().is_integrated() || bytes.empty()) return staged.address;
  KVAULT_TRY(const MemoryRange target, scratch(bytes.size()));
  KVAULT_CHECK(copy(staged, 0, target, 0, bytes.size()));
  return target.address;
}

Result<> Runtime::copy(const MemoryRange& from, std::uint64_t from_offset_bytes,
                       const MemoryRange& to, std::uint64_t to_offset_bytes,
                       std::uint64_t size_bytes) {
  if (size_bytes == 0) return {};
  KVAULT_TRY(VkCommandBuffer commands, stream_->commands());
  const VkBufferCopy region = {from.offset_bytes + from_offset_bytes,
                               to.offset_bytes + to_offset_bytes, size_bytes};
  context_->api().vkCmdCopyBuffer(commands, from.buffer, to.buffer, 1, &region);
  return {};
}

Result<> Runtime::fill_zero(const MemoryRange& range) {
  KVAULT_TRY(VkCommandBuffer commands, stream_->commands());
  context_->api().vkCmdFillBuffer(commands, range.buffer, range.offset_bytes, range.size_bytes, 0);
  return {};
}

Result<> Runtime::dispatch_bytes(Shader shader, std::span<const std::uint32_t> constants,
                                 std::span<const std::byte> push, std::uint32_t n_group) {
  KVAULT_ASSERT(n_group <= 65535);
  if (n_group == 0) return {};
  KVAULT_TRY(VkPipeline pipeline, pipelines_->find(shader, constants));
  KVAULT_TRY(VkCommandBuffer commands, stream_->commands());
  const Api& api = context_->api();
  api.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
  api.vkCmdPushConstants(commands, pipelines_->layout(), VK_SHADER_STAGE_COMPUTE_BIT, 0,
                         static_cast<std::uint32_t>(push.size()), push.data());
  api.vkCmdDispatch(commands, n_group, 1, 1);
  return {};
}

}  // namespace kvault::vulkan
