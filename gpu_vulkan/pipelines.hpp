#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "gpu_vulkan/context.hpp"
#include "gpu_vulkan/shaders.hpp"

namespace kvault::vulkan {

/// Bytes of push constants every pipeline takes at most.
inline constexpr std::uint32_t kPushConstantBytes = 128;

/// Compute pipelines by shader and specialisation constants, made when first asked for. What the
/// driver compiled is kept in a file of the user's cache folder, so that the next start finds it.
class Pipelines {
 public:
  /// `cache_file` empty: nothing is kept.
  static Result<std::unique_ptr<Pipelines>> create(const Context& context,
                                                   std::filesystem::path cache_file);
  explicit Pipelines(const Context& context) : context_(context) {}
  Pipelines(const Pipelines&) = delete;
  Pipelines& operator=(const Pipelines&) = delete;
  /// Writes the file, if something was compiled.
  ~Pipelines();

  VkPipelineLayout layout() const { return layout_; }
  /// constants[i] specialises constant_id i.
  Result<VkPipeline> find(Shader shader, std::span<const std::uint32_t> constants);

  /// Where the compiled pipelines of an adapter are kept: $XDG_CACHE_HOME/kvault or
  /// ~/.cache/kvault; empty where neither is set.
  static std::filesystem::path cache_file_of(const Adapter& adapter);

 private:
  Result<VkPipeline> compile(Shader shader, std::span<const std::uint32_t> constants);
  Result<> create_cache();
  void save() const;

  const Context& context_;
  std::filesystem::path cache_file_;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  std::map<std::pair<Shader, std::vector<std::uint32_t>>, VkPipeline> pipelines_;
  bool is_new_ = false;  ///< something is not in the file
};

}  // namespace kvault::vulkan
