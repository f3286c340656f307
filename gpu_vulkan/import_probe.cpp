#include "gpu_vulkan/import_probe.hpp"

#include <algorithm>
#include <cstring>

#include "gpu_vulkan/memory.hpp"
#include "gpu_vulkan/shaders.hpp"
#include "gpu_vulkan/stream.hpp"

namespace kvault::vulkan {
namespace {

/// Copies bytes of one import by way of the device; whether they arrived.
Result<bool> copy_and_compare(const Context& context, std::span<const std::byte> imported,
                              std::span<const std::byte> bytes) {
  KVAULT_TRY(const std::unique_ptr<MemoryBlock> source,
             MemoryBlock::import_host(context, imported));
  KVAULT_TRY(const std::unique_ptr<MemoryBlock> target,
             MemoryBlock::create(context, MemoryKind::download, bytes.size()));
  KVAULT_TRY(const std::unique_ptr<Stream> stream, Stream::create(context));
  KVAULT_TRY(VkCommandBuffer commands, stream->commands());
  const auto offset_bytes = static_cast<std::uint64_t>(bytes.data() - imported.data());
  const VkBufferCopy region = {offset_bytes, 0, bytes.size()};
  context.api().vkCmdCopyBuffer(commands, source->whole().buffer, target->whole().buffer, 1,
                                &region);
  KVAULT_CHECK(stream->wait(stream->open_value()));
  return std::memcmp(target->whole().host, bytes.data(), bytes.size()) == 0;
}

}  // namespace

/// Tries with the program's own constants, which are such a mapping on every system.
bool can_read_mapped_file(const Context& context) {
  const std::uint64_t alignment = context.adapter().import_alignment_bytes;
  const std::span<const std::byte> code = std::as_bytes(code_of(Shader::attend));
  const std::uint64_t before = reinterpret_cast<std::uintptr_t>(code.data()) % alignment;
  const std::size_t n = std::min<std::uint64_t>(code.size(), alignment - before);
  const Result<bool> arrived =
      copy_and_compare(context, std::span(code.data() - before, alignment), code.first(n));
  return arrived && *arrived;
}

}  // namespace kvault::vulkan
