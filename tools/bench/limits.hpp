#pragma once

#include <cstdint>

#include "core/cpu/instruction_set.hpp"
#include "core/layout/scheme.hpp"
#include "tools/bench/shape.hpp"

// What the figures of a row are made of: bytes, integer dots and the limits they set.

namespace kvault::tools {

/// How a preset keeps one side of a full page: keys centred, as a cache does by default.
BlockFormat format_of(const Preset& preset, Side side);

/// Stored bytes of K and V of one page and kv head.
std::uint64_t pair_size_bytes(const Preset& preset, std::uint32_t head_dim);

/// Stored bytes of one layer: what one call of decode or prefill has to read.
std::uint64_t layer_stored_size_bytes(const Preset& preset, const BenchShape& shape);

/// K and V rows of one page in f16, all kv heads.
std::uint64_t page_f16_size_bytes(const BenchShape& shape);

/// Integer dot instructions for one pair and `n_row` query rows: 16-bit queries and probabilities
/// against its codes. avx512: 64 products of bytes, in two passes, one per byte of the 16 bits;
/// amx: the same 1024 at a time, which is one row of a tile product; avx2: 16 products of 16 bits,
/// each with an addition, and avx_vnni the same in one. 0 for sets whose kernels have none.
double dots_per_pair(cpu::InstructionSet set, std::uint32_t n_row, std::uint32_t head_dim);

/// The stored bytes per second at which the dots alone fill `n_thread` cores.
double port_limit_gb_per_s(std::uint64_t pair_bytes, double n_dot, double dots_per_us,
                           std::uint32_t n_thread);

/// Bytes in a time as 10^9 bytes per second; 0 where no time passed.
double gb_per_s(std::uint64_t size_bytes, double time_us);

}  // namespace kvault::tools
