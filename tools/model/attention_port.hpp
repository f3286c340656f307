#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "kvault/kvault.hpp"

namespace kvault::tools {

/// One layer's part of a step of n_token tokens.
struct AttentionStep {
  std::uint32_t n_token = 0;
  std::span<const float> q;       ///< [n_token][n_head][key_head_dim]
  std::span<const float> keys;    ///< [n_token][n_kv_head][key_head_dim]
  std::span<const float> values;  ///< [n_token][n_kv_head][value_head_dim]
  std::span<float> out;           ///< [n_token][n_head][value_head_dim]
};

/// Where a model keeps and reads its keys and values.
class AttentionPort {
 public:
  AttentionPort() = default;
  AttentionPort(const AttentionPort&) = delete;
  AttentionPort& operator=(const AttentionPort&) = delete;
  virtual ~AttentionPort() = default;

  /// Tokens that every layer holds: the position of the next one.
  virtual std::uint64_t n_token() const = 0;
  /// Appends the step's rows to a layer and attends causally with its queries, scaled by
  /// 1/sqrt(key_head_dim).
  virtual Result<> append_attend(std::uint32_t layer, const AttentionStep& step) = 0;
};

/// The newest step's queries of a layer and what attention gave for them, for a second opinion.
struct AttentionRecord {
  std::uint32_t n_q = 0;
  std::vector<float> q;    ///< [n_q][n_head][key_head_dim]
  std::vector<float> out;  ///< [n_q][n_head][value_head_dim]
};

/// The model's attention through kvault's public interface. Borrows the cache, which must outlive
/// it; converts rows to the cache's row type. One thread at a time.
class CacheAttention final : public AttentionPort {
 public:
  explicit CacheAttention(sdk::CacheView cache);

  std::uint64_t n_token() const override { return cache_.n_token(); }
  Result<> append_attend(std::uint32_t layer, const AttentionStep& step) override;

  const sdk::CacheView& cache() const { return cache_; }
  /// Of the last step, by layer.
  const std::vector<AttentionRecord>& records() const { return records_; }

 private:
  sdk::CacheView cache_;
  std::vector<std::byte> keys_;
  std::vector<std::byte> values_;
  std::vector<AttentionRecord> records_;
};

}  // namespace kvault::tools
