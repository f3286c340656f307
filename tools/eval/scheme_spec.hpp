#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/base/result.hpp"
#include "tools/eval/codec.hpp"
#include "tools/eval/codecs/code_shelf.hpp"

namespace kvault::eval {

/// A scheme of the laboratory by its text: NAME[,OPTION=VALUE]..., where NAME is a preset of the
/// product, a rival or an experiment (scheme_names()), and an option changes both sides, or one
/// behind `k.` or `v.`: "k3v3,code=trellis,v.mean=f16". Errc::invalid_argument names what is wrong.
Result<LabScheme> scheme_of(std::string_view text, std::uint32_t head_dim, CodeShelf& shelf);

/// What one NAME stands for.
struct SchemeName {
  std::string_view name;
  std::string_view what;
};
/// All names but the product's presets.
std::span<const SchemeName> scheme_names();
/// One line per option: its values.
std::string scheme_options_help();

}  // namespace kvault::eval
