#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/half.hpp"
#include "core/base/result.hpp"
#include "sdk/adapters/llama/src/gguf.hpp"

namespace kvault::llama {

/// A LoRA adapter that is applied to the model.
struct Lora {
  std::filesystem::path path;
  float scale = 1;
};

/// Rope settings of the context where they are not the model's: 0 (or less, for YaRN's factors)
/// means the model's, as in llama_context_params.
struct Rope {
  std::int32_t scaling_type = -1;
  float freq_base = 0;
  float freq_scale = 0;
  float yarn_ext_factor = -1;
  float yarn_attn_factor = -1;
  float yarn_beta_fast = -1;
  float yarn_beta_slow = -1;
  std::uint32_t yarn_orig_ctx = 0;
};

struct ModelOptions {
  std::filesystem::path path;
  std::vector<Lora> loras;
  Rope rope;
};

/// Energies of one layer's queries and keys by channel, from the weights. [n_kv_head * head_dim]
struct ChannelEnergies {
  std::vector<double> query;  ///< mean over the query heads that share a kv head
  std::vector<double> key;
};

/// What a model file says that matters to its saved states. Immutable.
class Model {
 public:
  struct Field {
    std::string name;
    std::string value;
  };

  static Result<Model> open(const ModelOptions& options);

  /// What must be equal for a state to mean anything: kvault_identity_field.
  const std::vector<Field>& identity() const { return identity_; }
  const std::string& architecture() const { return architecture_; }
  std::uint32_t key_head_dim() const { return key_head_dim_; }
  std::uint32_t value_head_dim() const { return value_head_dim_; }
  /// Layers with a recurrent state, by their tensors; 0: none, or of a kind that is not known.
  std::uint32_t n_recurrent() const;
  /// Of sliding-window layers; 0: it has none.
  std::uint32_t window() const { return window_; }

  /// Equalisers of the layers of full attention, in order (paper: kvault's design, the fourth root
  /// of query energy over key energy): f16 [n_layer][n_kv_head][head_dim]. Empty where the weights
  /// do not say: types that are not read (K-quants), no Q and K tensors, another number of layers.
  std::vector<Half> equaliser(std::span<const std::uint32_t> n_kv_head, bool has_sliding) const;

 private:
  Result<> read_shape();
  Result<> check_architecture() const;
  Result<> read_identity(const ModelOptions& options);
  std::vector<std::uint32_t> full_layers(bool has_sliding) const;
  std::optional<ChannelEnergies> energies(std::uint32_t layer, std::uint32_t n_kv_head) const;
  std::optional<std::vector<double>> row_energies(std::uint32_t layer, const char* side) const;
  std::optional<std::vector<float>> read_floats(const GgufTensor& tensor) const;
  void turn(std::vector<double>& energies) const;

  Gguf file_;
  std::string architecture_;
  std::uint32_t n_layer_ = 0;
  std::uint32_t n_head_ = 0;
  std::uint32_t key_head_dim_ = 0;
  std::uint32_t value_head_dim_ = 0;
  std::uint32_t window_ = 0;
  std::vector<Field> identity_;
};

/// A 128-bit fingerprint of a GGUF file, in hexadecimal: its head (metadata, vocabulary, tensor
/// table), its size, and of each tensor 4 KiB from the beginning, the middle and the end.
Result<std::string> fingerprint(const Gguf& file);

}  // namespace kvault::llama
