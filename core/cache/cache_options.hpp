#pragma once

#include <cstdint>
#include <vector>

#include "core/base/half.hpp"
#include "core/base/result.hpp"
#include "core/codec/scale_rule.hpp"
#include "core/layout/layer.hpp"

namespace kvault {

/// Where the key equaliser of a layer comes from; core/codec/equaliser.hpp says what it is.
enum class Equalise : std::uint8_t {
  learn,  ///< from the queries and keys of the first 256 tokens
  given,  ///< by the caller
  none,   ///< all ones
};

/// What stays raw.
enum class RawPolicy : std::uint8_t {
  sink_and_tail,  ///< the first page and the newest 128 to 255 tokens
  none,           ///< every full page is sealed at once: to measure the codec
};

/// Everything that is fixed for a cache's life.
struct CacheOptions {
  ModelShape shape;
  Equalise equalise = Equalise::learn;
  RawPolicy raw_policy = RawPolicy::sink_and_tail;
  ScaleRule scale_rule = kDefaultScaleRule;
  bool centre_keys = true;
  bool centre_values = false;
  std::uint64_t n_token_max = std::uint64_t{1} << 24U;
  /// Equalise::given: per layer [n_kv_head, key_head_dim], empty for layers that are not full
  /// attention.
  std::vector<std::vector<Half>> equalisers;
};

/// Tokens whose queries and keys teach the equaliser.
inline constexpr std::uint64_t kLearnTokens = 256;

/// Sealed pages of a chat of n_token tokens: pages [0, n) are sealed, the rest is raw.
/// docs/architecture.md, "State is a function of position".
constexpr std::uint64_t n_sealed_page_at(std::uint64_t n_token, RawPolicy policy) {
  const std::uint64_t n_full = n_token / kPageTokens;
  if (policy == RawPolicy::none) return n_full;
  return n_full >= 2 ? n_full - 1 : 0;
}

/// invalid_argument, unsupported or limit_exceeded, with the offending layer and numbers.
Result<> check(const CacheOptions& options);

}  // namespace kvault
