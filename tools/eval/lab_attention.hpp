#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tools/eval/codec.hpp"
#include "tools/eval/stress.hpp"
#include "tools/model/attention_port.hpp"

namespace kvault::eval {

/// Which keys and values are seen coded.
enum class Mode : std::uint8_t {
  codec_only,  ///< all of them
  live,        ///< those that are sealed when the query comes, LabScheme::live
};

/// How far the outputs of a head are from those over raw rows, for the same queries and rows.
struct HeadError {
  double miss = 0;    ///< sum of squared differences
  double energy = 0;  ///< sum of squared raw outputs
  double relative() const;
};

/// Statistics of other text, one per layer and kv head: [n_layer * n_kv_head].
using ModelProfile = std::vector<HeadProfile>;

struct LabAttentionOptions {
  const LabScheme* scheme = nullptr;  ///< null: raw rows
  Mode mode = Mode::codec_only;
  const Stress* stress = nullptr;
  const ModelProfile* profile = nullptr;
  bool measures_errors = false;
  /// Engine rows are f16; false: as computed, to look at the model alone.
  bool rounds_rows = true;
  std::uint32_t first_scored = 256;  ///< errors count from this position on
  /// Sees the rows of every head before they are coded.
  std::function<void(const HeadRows& keys, const HeadRows& values)> on_rows;
};

/// Attention over keys and values that went through a codec, for one text that comes in one step:
/// a laboratory, where a cache would be fed. Borrows all that its options name. One thread.
class LabAttention final : public tools::AttentionPort {
 public:
  LabAttention(std::span<const kvault_layer> layers, LabAttentionOptions options);

  std::uint64_t n_token() const override { return n_token_; }
  /// Errc::unsupported for a second step of a layer.
  Result<> append_attend(std::uint32_t layer, const tools::AttentionStep& step) override;

  /// [n_layer][n_head], where they were asked for.
  const std::vector<std::vector<HeadError>>& errors() const { return errors_; }

 private:
  struct Head;
  void attend_head(const Head& head, std::span<const float> keys, std::span<const float> values,
                   bool is_raw, std::span<float> out) const;
  void code_rows(const Head& head, std::vector<float>& keys, std::vector<float>& values) const;
  bool is_coded(std::uint32_t layer) const;
  void note_errors(const Head& head, std::span<const float> coded);

  std::vector<kvault_layer> layers_;
  LabAttentionOptions options_;
  std::vector<std::vector<HeadError>> errors_;
  std::uint64_t n_token_ = 0;
};

}  // namespace kvault::eval
