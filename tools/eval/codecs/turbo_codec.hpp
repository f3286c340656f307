#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "tools/eval/codec.hpp"
#include "tools/eval/codecs/head_transform.hpp"
#include "tools/eval/codecs/number_code.hpp"
#include "tools/eval/codecs/turbo_options.hpp"

namespace kvault::eval {

/// The product's codec written once more with its parts exchangeable: transform, rotate, centre by
/// page, scale by token, code. With the product's options it gives the product's rows.
class TurboCodec final : public SideCodec {
 public:
  TurboCodec(const TurboOptions& options, std::shared_ptr<const NumberCode> code);
  double bits_per_element(std::uint32_t head_dim) const override;
  double session_bits(std::uint32_t head_dim) const override;
  void code(const HeadRows& in, std::span<float> out) const override;

  const TurboOptions& options() const { return options_; }

 private:
  /// Centred rows [n][dim] of a page become what is read back of them.
  void code_numbers(const HeadTransform& transform, std::span<float> rows, std::size_t dim) const;

  /// transform_of; kept where it only depends on the profile, which must outlive the codec.
  std::shared_ptr<const HeadTransform> transform_for(const HeadRows& in) const;

  TurboOptions options_;
  std::shared_ptr<const NumberCode> code_;
  mutable std::mutex mutex_;
  mutable std::map<std::pair<const HeadProfile*, Side>, std::shared_ptr<const HeadTransform>> kept_;
};

}  // namespace kvault::eval
