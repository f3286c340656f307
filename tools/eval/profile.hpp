#pragma once

#include <span>

#include "core/base/result.hpp"
#include "tools/eval/lab_attention.hpp"
#include "tools/model/fineweb.hpp"

namespace kvault::eval {

/// A model's profile: moments over `text`, cut into sequences of `n_context` tokens, and weights.
/// Keys and queries as `stress` leaves them; covariances of keys and values are about the means of
/// pages of 128.
Result<ModelProfile> profile_of(const tools::FinewebModel& model,
                                std::span<const std::uint32_t> text, std::size_t n_context,
                                const Stress& stress);

/// Root mean square length of a value over all layers and heads of a text.
Result<double> value_norm_of(const tools::FinewebModel& model, std::span<const std::uint32_t> text);

}  // namespace kvault::eval
