#pragma once

#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include "core/device/device.hpp"
#include "gpu_vulkan/arena.hpp"
#include "gpu_vulkan/pipelines.hpp"

namespace kvault::vulkan {

/// What goes between host and device goes in pieces of about this size, so that the host copies one
/// while the device works on another.
inline constexpr std::uint64_t kPieceSizeBytes = std::uint64_t{8} << 20U;

/// Which of the pipelines that attend is taken; every device can run them all.
struct AttendPath {
  /// Made for one shape and format each, rather than for all of them. So on a GPU; drivers that run
  /// on the CPU take seconds for each and gain nothing by it.
  bool is_specialised = false;
  /// Integer queries over coded keys, where the hardware has dot products of bytes.
  bool uses_dot_product = false;

  static AttendPath of(const Context& context);
};

/// What all verbs of a device work with. Shared with the buffers, which give their memory back to
/// it.
class Runtime {
 public:
  static Result<std::shared_ptr<Runtime>> create(std::shared_ptr<const Context> context);
  explicit Runtime(std::shared_ptr<const Context> context);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  ~Runtime();

  const Context& context() const { return *context_; }
  Stream& stream() { return *stream_; }
  MemoryPool& pool(MemoryKind kind) { return pools_[static_cast<std::size_t>(kind)]; }
  Pipelines& pipelines() { return *pipelines_; }
  const AttendPath& attend_path() const { return attend_path_; }
  void set_attend_path(const AttendPath& path) { attend_path_ = path; }

  /// Host-visible memory for the open batch: `upload` to write into, `download` to read from once
  /// the batch is done.
  Result<MemoryRange> stage(MemoryKind kind, std::uint64_t size_bytes);
  /// Called when bytes that were staged have been recorded: hands the batch in once it holds a
  /// piece of them, and then waits until few pieces are under way. Bounds what is staged at once.
  Result<> pace(std::uint64_t size_bytes);
  /// Memory of the device's own for the open batch; anything stands in it.
  Result<MemoryRange> scratch(std::uint64_t size_bytes);
  /// Copies an array of plain values to where shaders read it fast; its address, valid for the open
  /// batch. A barrier has to follow.
  template <class T>
  Result<VkDeviceAddress> put(std::span<const T> values) {
    return put_bytes(std::as_bytes(values));
  }
  /// Runs a shader over n_group workgroups. `constants` specialise it; `push` is a plain struct of
  /// at most kPushConstantBytes.
  template <class Push>
  Result<> dispatch(Shader shader, std::span<const std::uint32_t> constants, const Push& push,
                    std::uint32_t n_group) {
    static_assert(sizeof(Push) <= kPushConstantBytes && sizeof(Push) % 4 == 0);
    return dispatch_bytes(shader, constants, std::as_bytes(std::span(&push, 1)), n_group);
  }
  Result<> copy(const MemoryRange& from, std::uint64_t from_offset_bytes, const MemoryRange& to,
                std::uint64_t to_offset_bytes, std::uint64_t size_bytes);
  Result<> fill_zero(const MemoryRange& range);
  /// The rotation of a head_dim as shaders/rotate.glsl wants it: scaled_signs [head_dim], then
  /// paley_signs [m, m]. Stays where it is.
  Result<VkDeviceAddress> rotation(std::uint32_t head_dim);

 private:
  Result<VkDeviceAddress> put_bytes(std::span<const std::byte> bytes);
  Result<> dispatch_bytes(Shader shader, std::span<const std::uint32_t> constants,
                          std::span<const std::byte> push, std::uint32_t n_group);

  std::shared_ptr<const Context> context_;
  AttendPath attend_path_;
  MemoryPool pools_[kMemoryKinds];
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Arena> arenas_[kMemoryKinds];
  std::unique_ptr<Pipelines> pipelines_;
  std::map<std::uint32_t, MemoryRange> rotations_;  ///< by head_dim
  std::uint64_t paced_value_ = 0;                   ///< the batch that paced_bytes_ are in
  std::uint64_t paced_bytes_ = 0;
};

}  // namespace kvault::vulkan
