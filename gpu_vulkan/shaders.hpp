#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace kvault::vulkan {

/// The compute shaders of shaders/, compiled into this library.
enum class Shader : std::uint8_t {
  prepare,
  attend,
  attend_dot,
  combine,
  encode_rotate,
  encode_centre,
  encode_quantise,
  encode_store,
  reconstruct,
};
inline constexpr std::size_t kShaders = 9;

/// SPIR-V, [n_word].
std::span<const std::uint32_t> code_of(Shader shader);
std::string_view name_of(Shader shader);

}  // namespace kvault::vulkan
