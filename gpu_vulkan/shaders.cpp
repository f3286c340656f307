#include "gpu_vulkan/shaders.hpp"

// Made by glslang at build time, one array each.
#include "spirv/kvault_attend_dot_spv.h"
#include "spirv/kvault_attend_spv.h"
#include "spirv/kvault_combine_spv.h"
#include "spirv/kvault_encode_centre_spv.h"
#include "spirv/kvault_encode_quantise_spv.h"
#include "spirv/kvault_encode_rotate_spv.h"
#include "spirv/kvault_encode_store_spv.h"
#include "spirv/kvault_prepare_spv.h"
#include "spirv/kvault_reconstruct_spv.h"

namespace kvault::vulkan {

std::span<const std::uint32_t> code_of(Shader shader) {
  switch (shader) {
    case Shader::prepare:
      return kvault_prepare_spv;
    case Shader::attend:
      return kvault_attend_spv;
    case Shader::attend_dot:
      return kvault_attend_dot_spv;
    case Shader::combine:
      return kvault_combine_spv;
    case Shader::encode_rotate:
      return kvault_encode_rotate_spv;
    case Shader::encode_centre:
      return kvault_encode_centre_spv;
    case Shader::encode_quantise:
      return kvault_encode_quantise_spv;
    case Shader::encode_store:
      return kvault_encode_store_spv;
    case Shader::reconstruct:
      return kvault_reconstruct_spv;
  }
  return {};
}

std::string_view name_of(Shader shader) {
  constexpr std::string_view kNames[kShaders] = {
      "prepare",       "attend",          "attend_dot",   "combine",    "encode_rotate",
      "encode_centre", "encode_quantise", "encode_store", "reconstruct"};
  return kNames[static_cast<std::size_t>(shader)];
}

}  // namespace kvault::vulkan
