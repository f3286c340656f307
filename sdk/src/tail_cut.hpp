#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/layout/layer.hpp"

namespace kvault {

/// The tail record that holds the first n_token tokens of another one, and nothing of the rest:
/// what a rollback has taken back is not handed on. Whole, with right checksums.
/// pre: verify_record() accepts `record`; 0 < n_token < the tokens it holds
/// Errc::corrupt where it does not fit the shape.
Result<std::vector<std::byte>> cut_tail(const ModelShape& shape, std::span<const std::byte> record,
                                        std::uint32_t n_token);

}  // namespace kvault
