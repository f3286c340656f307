#include "gpu_vulkan/pipelines.hpp"

#include <cstdlib>
#include <string>

#include "gpu_vulkan/pipeline_file.hpp"

namespace kvault::vulkan {

Result<std::unique_ptr<Pipelines>> Pipelines::create(const Context& context,
                                                     std::filesystem::path cache_file) {
  auto pipelines = std::make_unique<Pipelines>(context);
  pipelines->cache_file_ = std::move(cache_file);
  VkPushConstantRange range = {};
  range.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  range.size = kPushConstantBytes;
  VkPipelineLayoutCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  info.pushConstantRangeCount = 1;
  info.pPushConstantRanges = &range;
  KVAULT_CHECK(check(
      context.api().vkCreatePipelineLayout(context.device(), &info, nullptr, &pipelines->layout_),
      "a pipeline layout"));
  KVAULT_CHECK(pipelines->create_cache());
  return pipelines;
}

Result<> Pipelines::create_cache() {
  const std::vector<std::byte> stored =
      read_pipeline_file(cache_file_, context_.adapter().cache_uuid);
  VkPipelineCacheCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  info.initialDataSize = stored.size();
  info.pInitialData = stored.data();
  return check(context_.api().vkCreatePipelineCache(context_.device(), &info, nullptr, &cache_),
               "a pipeline cache");
}

Pipelines::~Pipelines() {
  const Api& api = context_.api();
  if (is_new_) save();
  for (const auto& [key, pipeline] : pipelines_) {
    api.vkDestroyPipeline(context_.device(), pipeline, nullptr);
  }
  if (cache_ != VK_NULL_HANDLE) api.vkDestroyPipelineCache(context_.device(), cache_, nullptr);
  if (layout_ != VK_NULL_HANDLE) api.vkDestroyPipelineLayout(context_.device(), layout_, nullptr);
}

/// A file that cannot be written costs the next start its compilation, nothing else.
void Pipelines::save() const {
  if (cache_file_.empty()) return;
  std::size_t size = 0;
  if (context_.api().vkGetPipelineCacheData(context_.device(), cache_, &size, nullptr) !=
      VK_SUCCESS) {
    return;
  }
  std::vector<std::byte> data(size);
  if (context_.api().vkGetPipelineCacheData(context_.device(), cache_, &size, data.data()) !=
      VK_SUCCESS) {
    return;
  }
  data.resize(size);
  (void)write_pipeline_file(cache_file_, context_.adapter().cache_uuid, data);
}

Result<VkPipeline> Pipelines::find(Shader shader, std::span<const std::uint32_t> constants) {
  const std::pair key(shader, std::vector<std::uint32_t>(constants.begin(), constants.end()));
  const auto known = pipelines_.find(key);
  if (known != pipelines_.end()) return known->second;
  KVAULT_TRY(VkPipeline pipeline, compile(shader, constants));
  pipelines_[key] = pipeline;
  is_new_ = true;
  return pipeline;
}

Result<VkPipeline> Pipelines::compile(Shader shader, std::span<const std::uint32_t> constants) {
  const Api& api = context_.api();
  const std::span<const std::uint32_t> code = code_of(shader);
  VkShaderModuleCreateInfo module_info = {};
  module_info.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  module_info.codeSize = code.size_bytes();
  module_info.pCode = code.data();
  VkShaderModule module = VK_NULL_HANDLE;
  KVAULT_CHECK(check(api.vkCreateShaderModule(context_.device(), &module_info, nullptr, &module),
                     "a shader module"));
  std::vector<VkSpecializationMapEntry> entries;
  for (std::uint32_t i = 0; i < constants.size(); ++i) entries.push_back({i, 4 * i, 4});
  VkSpecializationInfo special = {};
  special.mapEntryCount = static_cast<std::uint32_t>(entries.size());
  special.pMapEntries = entries.data();
  special.dataSize = constants.size_bytes();
  special.pData = constants.data();
  VkComputePipelineCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = module;
  info.stage.pName = "main";
  info.stage.pSpecializationInfo = &special;
  info.layout = layout_;
  VkPipeline pipeline = VK_NULL_HANDLE;
  const VkResult result =
      api.vkCreateComputePipelines(context_.device(), cache_, 1, &info, nullptr, &pipeline);
  api.vkDestroyShaderModule(context_.device(), module, nullptr);
  KVAULT_CHECK(check(result, message("compiling shader ", name_of(shader))));
  return pipeline;
}

std::filesystem::path Pipelines::cache_file_of(const Adapter& adapter) {
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  const char* const home = std::getenv("HOME");
  std::filesystem::path folder;
  if (cache != nullptr && *cache != '\0') {
    folder = cache;
  } else if (home != nullptr && *home != '\0') {
    folder = std::filesystem::path(home) / ".cache";
  } else {
    return {};
  }
  return folder / "kvault" / ("vulkan-" + adapter.uuid + ".pipelines");
}

}  // namespace kvault::vulkan
