#include "gpu_vulkan/memory.hpp"

#include <algorithm>
#include <iterator>
#include <limits>

#include "core/layout/block_layout.hpp"

namespace kvault::vulkan {
namespace {

constexpr std::uint64_t kBlockSizeBytes = std::uint64_t{64} << 20U;
constexpr std::uint64_t kAlignmentBytes = 256;

constexpr VkBufferUsageFlags kUsage =
    VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
    VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;

Result<VkBuffer> create_buffer(const Context& context, std::uint64_t size_bytes, const void* next) {
  const std::uint64_t most = context.adapter().buffer_size_max_bytes;
  if (size_bytes > most) {
    return fail(Errc::out_of_memory, message("vulkan: a buffer of ", size_bytes, " bytes, but \"",
                                             context.adapter().name, "\" has at most ", most));
  }
  VkBufferCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.pNext = next;
  info.size = size_bytes;
  info.usage = kUsage;
  VkBuffer buffer = VK_NULL_HANDLE;
  KVAULT_CHECK(check(context.api().vkCreateBuffer(context.device(), &info, nullptr, &buffer),
                     message("a buffer of ", size_bytes, " bytes")));
  return buffer;
}

/// Leaves the types whose heaps have room. What a driver gives beyond its budget it takes from
/// memory in use, and moves to and fro at every call: better that it says it is full.
Result<> keep_roomy(const Context& context, std::uint64_t size_bytes,
                    std::vector<std::uint32_t>& types) {
  std::uint64_t most_left_bytes = 0;
  std::erase_if(types, [&](std::uint32_t type) {
    const std::uint64_t left_bytes = context.heap_left_bytes(type);
    most_left_bytes = std::max(most_left_bytes, left_bytes);
    return left_bytes < size_bytes;
  });
  if (!types.empty()) return {};
  return fail(Errc::out_of_memory, message("vulkan: out of memory: ", size_bytes, " bytes, but ",
                                           most_left_bytes, " are left"));
}

}  // namespace

Result<std::unique_ptr<MemoryBlock>> MemoryBlock::create(const Context& context, MemoryKind kind,
                                                         std::uint64_t size_bytes) {
  auto block = std::make_unique<MemoryBlock>(context);
  block->size_bytes_ = size_bytes;
  KVAULT_TRY(block->buffer_, create_buffer(context, size_bytes, nullptr));
  KVAULT_CHECK(block->bind(kind, nullptr, ~0U));
  if (kind != MemoryKind::device) {
    void* host = nullptr;
    KVAULT_CHECK(check(
        context.api().vkMapMemory(context.device(), block->memory_, 0, VK_WHOLE_SIZE, 0, &host),
        "mapping memory"));
    block->host_ = static_cast<std::byte*>(host);
  }
  block->free_[0] = size_bytes;
  return block;
}

Result<std::unique_ptr<MemoryBlock>> MemoryBlock::import_host(const Context& context,
                                                              std::span<const std::byte> bytes) {
  constexpr auto kHandle = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
  VkMemoryHostPointerPropertiesEXT properties = {};
  properties.sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT;
  KVAULT_CHECK(check(context.api().vkGetMemoryHostPointerPropertiesEXT(context.device(), kHandle,
                                                                       bytes.data(), &properties),
                     "importing host memory"));
  VkImportMemoryHostPointerInfoEXT import = {};
  import.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT;
  import.handleType = kHandle;
  import.pHostPointer = const_cast<std::byte*>(bytes.data());  // only ever read by the shaders
  VkExternalMemoryBufferCreateInfo external = {};
  external.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO;
  external.handleTypes = kHandle;
  auto block = std::make_unique<MemoryBlock>(context);
  block->size_bytes_ = bytes.size();
  KVAULT_TRY(block->buffer_, create_buffer(context, bytes.size(), &external));
  // A kind that is coherent with what the host wrote.
  KVAULT_CHECK(block->bind(MemoryKind::upload, &import, properties.memoryTypeBits));
  return block;
}

Result<> MemoryBlock::bind(MemoryKind kind, const void* import_info, std::uint32_t type_bits) {
  const Api& api = context_.api();
  VkMemoryRequirements needs = {};
  api.vkGetBufferMemoryRequirements(context_.device(), buffer_, &needs);
  VkMemoryAllocateFlagsInfo flags = {};
  flags.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO;
  flags.pNext = import_info;
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  info.pNext = &flags;
  info.allocationSize = import_info == nullptr ? needs.size : size_bytes_;
  if (info.allocationSize < needs.size) {
    return fail(Errc::unsupported, message("vulkan: ", size_bytes_, " bytes of host memory, but a ",
                                           "buffer over them needs ", needs.size));
  }
  auto types = context_.memory_types(kind, needs.memoryTypeBits & type_bits);
  if (types.empty()) {
    return fail(Errc::unsupported, "vulkan: the device has no memory of the kind that is needed");
  }
  // What is imported is taken already.
  if (import_info == nullptr) KVAULT_CHECK(keep_roomy(context_, info.allocationSize, types));
  KVAULT_CHECK(allocate(types, info));
  KVAULT_CHECK(check(api.vkBindBufferMemory(context_.device(), buffer_, memory_, 0), "binding"));
  VkBufferDeviceAddressInfo address = {};
  address.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
  address.buffer = buffer_;
  address_ = api.vkGetBufferDeviceAddress(context_.device(), &address);
  return {};
}

/// Of the first type that has room.
Result<> MemoryBlock::allocate(std::span<const std::uint32_t> types, VkMemoryAllocateInfo& info) {
  VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
  for (const std::uint32_t type : types) {
    info.memoryTypeIndex = type;
    result = context_.api().vkAllocateMemory(context_.device(), &info, nullptr, &memory_);
    if (result != VK_ERROR_OUT_OF_DEVICE_MEMORY) break;
  }
  return check(result, message("memory of ", info.allocationSize, " bytes"));
}

MemoryBlock::~MemoryBlock() {
  const Api& api = context_.api();
  if (buffer_ != VK_NULL_HANDLE) api.vkDestroyBuffer(context_.device(), buffer_, nullptr);
  if (memory_ != VK_NULL_HANDLE) api.vkFreeMemory(context_.device(), memory_, nullptr);
}

MemoryRange MemoryBlock::whole() { return {this, buffer_, 0, size_bytes_, address_, host_}; }

bool MemoryBlock::is_unused() const {
  return free_.size() == 1 && free_.begin()->second == size_bytes_;
}

MemoryRange MemoryBlock::take(std::uint64_t size_bytes) {
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second < size_bytes) continue;
    const std::uint64_t offset = it->first;
    const std::uint64_t rest = it->second - size_bytes;
    free_.erase(it);
    if (rest > 0) free_[offset + size_bytes] = rest;
    return {this,       buffer_,           offset,
            size_bytes, address_ + offset, host_ == nullptr ? nullptr : host_ + offset};
  }
  return {};
}

void MemoryBlock::give_back(const MemoryRange& range) {
  auto at = free_.emplace(range.offset_bytes, range.size_bytes).first;
  const auto next = std::next(at);
  if (next != free_.end() && at->first + at->second == next->first) {
    at->second += next->second;
    free_.erase(next);
  }
  if (at == free_.begin()) return;
  const auto before = std::prev(at);
  if (before->first + before->second != at->first) return;
  before->second += at->second;
  free_.erase(at);
}

Result<MemoryRange> MemoryPool::take(std::uint64_t size_bytes) {
  if (size_bytes > std::numeric_limits<std::uint64_t>::max() - kAlignmentBytes) {
    return fail(Errc::out_of_memory, message("vulkan: ", size_bytes, " bytes of memory"));
  }
  const std::uint64_t size = align_up(std::max<std::uint64_t>(size_bytes, 1), kAlignmentBytes);
  const std::lock_guard lock(mutex_);
  for (const auto& block : blocks_) {
    const MemoryRange range = block->take(size);
    if (range.block == nullptr) continue;
    taken_bytes_ += size;
    return range;
  }
  Result<std::unique_ptr<MemoryBlock>> block =
      MemoryBlock::create(context_, kind_, std::max(size, kBlockSizeBytes));
  if (!block && size < kBlockSizeBytes) block = MemoryBlock::create(context_, kind_, size);
  if (!block) {
    return fail(block.error().code,
                message(block.error().message, "; ", taken_bytes_, " bytes of \"",
                        context_.adapter().name, "\" are taken"));
  }
  blocks_.push_back(std::move(*block));
  taken_bytes_ += size;
  return blocks_.back()->take(size);
}

void MemoryPool::give_back(const MemoryRange& range) {
  const std::lock_guard lock(mutex_);
  taken_bytes_ -= range.size_bytes;
  range.block->give_back(range);
  if (!range.block->is_unused() || blocks_.size() == 1) return;
  std::erase_if(blocks_, [&](const auto& block) { return block.get() == range.block; });
}

}  // namespace kvault::vulkan
