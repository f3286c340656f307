#pragma once

#include <cstdint>
#include <vector>

#include "core/layout/scheme.hpp"

namespace kvault {

/// What a layer of the model keeps between tokens.
enum class LayerKind : std::uint8_t {
  full_attention = 1,  ///< K and V of every token, compressed
  sliding_window = 2,  ///< raw K and V of the newest `window` tokens
  recurrent = 3,       ///< an opaque state (Mamba, gated delta net), one blob per position kept
  none = 4,            ///< nothing
};

/// One layer, as far as its memory is concerned.
struct LayerSpec {
  LayerKind kind = LayerKind::full_attention;
  std::uint32_t n_head = 0;  ///< query heads, a multiple of n_kv_head
  std::uint32_t n_kv_head = 0;
  std::uint32_t key_head_dim = 0;
  std::uint32_t value_head_dim = 0;
  std::uint32_t window = 0;           ///< sliding_window only: tokens a query sees, itself included
  Scheme key_scheme = Scheme::raw;    ///< full_attention only
  Scheme value_scheme = Scheme::raw;  ///< full_attention only
  friend bool operator==(const LayerSpec&, const LayerSpec&) = default;

  bool has_attention() const {
    return kind == LayerKind::full_attention || kind == LayerKind::sliding_window;
  }
};

/// The layers of a model and the element type of its engine's rows.
struct ModelShape {
  RowType row_type = RowType::f16;
  std::vector<LayerSpec> layers;
  friend bool operator==(const ModelShape&, const ModelShape&) = default;
};

}  // namespace kvault
