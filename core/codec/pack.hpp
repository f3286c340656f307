#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/layout/scheme.hpp"

namespace kvault {

/// Packs one row of codes; docs/format.md, "pack". For q8 a code is the byte of its int8.
/// pre: codes.size() % 32 == 0, target.size() == codes.size() * bits / 8
void pack_row(Scheme scheme, std::span<const std::uint8_t> codes, std::span<std::byte> target);

/// The inverse of pack_row.
void unpack_row(Scheme scheme, std::span<const std::byte> source, std::span<std::uint8_t> codes);

}  // namespace kvault
