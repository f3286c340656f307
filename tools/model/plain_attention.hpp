#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tools/model/attention_port.hpp"

namespace kvault::tools {

/// Attention in plain float over rows kept as given: a port without kvault.
class PlainAttention final : public AttentionPort {
 public:
  explicit PlainAttention(std::span<const kvault_layer> layers);

  std::uint64_t n_token() const override;
  Result<> append_attend(std::uint32_t layer, const AttentionStep& step) override;

 private:
  struct Rows {
    kvault_layer spec{};
    std::uint64_t n_token = 0;
    std::vector<float> keys;    ///< [n_token][n_kv_head][key_head_dim]
    std::vector<float> values;  ///< [n_token][n_kv_head][value_head_dim]
  };
  std::vector<Rows> layers_;
};

}  // namespace kvault::tools
