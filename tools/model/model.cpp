#include "tools/model/model.hpp"

#include "tools/model/sdk_result.hpp"

namespace kvault::tools {

Result<> check_forward(const Model& model, std::span<const std::uint32_t> tokens,
                       std::uint32_t n_logit, std::span<const float> logits) {
  if (tokens.empty() || n_logit > tokens.size()) {
    return fail(Errc::invalid_argument,
                message("a forward of ", tokens.size(), " tokens with ", n_logit, " logits"));
  }
  if (logits.size() != std::size_t{n_logit} * model.n_vocab()) {
    return fail(Errc::shape_mismatch, message("logits have ", logits.size(), " entries, not ",
                                              n_logit, " x ", model.n_vocab()));
  }
  for (const std::uint32_t token : tokens) {
    if (token >= model.n_vocab()) {
      return fail(Errc::out_of_range, message("token ", token, " of ", model.n_vocab()));
    }
  }
  return {};
}

Result<std::vector<kvault_layer>> layers_with_preset(const Model& model,
                                                     const std::string& preset) {
  KVAULT_TRY(const sdk::Preset schemes, from_sdk(sdk::find_preset(preset.c_str()), "preset"));
  std::vector<kvault_layer> layers(model.layers().begin(), model.layers().end());
  for (kvault_layer& layer : layers) {
    layer.key_scheme = schemes.key;
    layer.value_scheme = schemes.value;
  }
  return layers;
}

}  // namespace kvault::tools
