#pragma once

#include <cstddef>

#include "core/layout/block_abi.inc"
#include "gpu_cuda/kernels/machine.cuh"

// Blocks as kernels see them: where their planes lie, and what their codes mean (docs/format.md).

namespace kvault::cuda {

KVAULT_DEVICE constexpr u32 round_up(u32 size, u32 alignment) {
  return (size + alignment - 1) / alignment * alignment;
}
KVAULT_DEVICE constexpr u32 padded_dim(u32 head_dim) {
  return round_up(head_dim, KVAULT_HEAD_DIM_ALIGNMENT);
}
KVAULT_DEVICE bool is_raw(u32 format) { return format <= KVAULT_FORMAT_RAW_F32; }
KVAULT_DEVICE bool is_centred(u32 format) { return (format & KVAULT_FORMAT_CENTRED) != 0; }
KVAULT_DEVICE u32 scheme_of(u32 format) {
  return format & ~static_cast<u32>(KVAULT_FORMAT_CENTRED);
}
KVAULT_DEVICE u32 code_bits(u32 scheme) {
  return scheme == KVAULT_FORMAT_Q8 ? 8 : 4 - (scheme - KVAULT_FORMAT_TQ4);
}
KVAULT_DEVICE u32 element_bytes(u32 raw_format) {
  return raw_format == KVAULT_FORMAT_RAW_F32 ? 4 : 2;
}
KVAULT_DEVICE u32 scale_offset_bytes(u32 scheme, u32 head_dim) {
  return round_up(KVAULT_PAGE_N_TOKEN * padded_dim(head_dim) * code_bits(scheme) / 8,
                  KVAULT_PLANE_ALIGNMENT_BYTES);
}
KVAULT_DEVICE u32 mean_offset_bytes(u32 scheme, u32 head_dim) {
  return scale_offset_bytes(scheme, head_dim) + KVAULT_PAGE_N_TOKEN * 2;
}
KVAULT_DEVICE const std::uint16_t* scales_of(const std::byte* block, u32 scheme, u32 head_dim) {
  return reinterpret_cast<const std::uint16_t*>(block + scale_offset_bytes(scheme, head_dim));
}
KVAULT_DEVICE const std::uint16_t* mean_of(const std::byte* block, u32 scheme, u32 head_dim) {
  return reinterpret_cast<const std::uint16_t*>(block + mean_offset_bytes(scheme, head_dim));
}

/// What a level counts, beside the scale; `unit` is 1 / sqrt(head_dim).
KVAULT_DEVICE float level_step(u32 scheme, float unit) {
  if (scheme == KVAULT_FORMAT_Q8) return 1.0F / KVAULT_Q8_CODE_MAX;
  const double step = scheme == KVAULT_FORMAT_TQ4   ? KVAULT_TQ4_STEP
                      : scheme == KVAULT_FORMAT_TQ3 ? KVAULT_TQ3_STEP
                                                    : KVAULT_TQ2_STEP;
  return static_cast<float>(step) * unit;
}

/// How elements of raw rows are read: one, or those of `index`, even, and index + 1.
struct RawF16 {
  static constexpr u32 kBytes = 2;
  KVAULT_DEVICE static float at(const std::byte* rows, u32 index) {
    return half_as_float(reinterpret_cast<const std::uint16_t*>(rows)[index]);
  }
  KVAULT_DEVICE static float2 pair_at(const std::byte* rows, u32 index) {
    const u32 word = reinterpret_cast<const u32*>(rows)[index / 2];
    return {half_as_float(static_cast<std::uint16_t>(word)),
            half_as_float(static_cast<std::uint16_t>(word >> 16U))};
  }
};
struct RawBFloat16 {
  static constexpr u32 kBytes = 2;
  KVAULT_DEVICE static float at(const std::byte* rows, u32 index) {
    return bits_as_float(u32{reinterpret_cast<const std::uint16_t*>(rows)[index]} << 16U);
  }
  KVAULT_DEVICE static float2 pair_at(const std::byte* rows, u32 index) {
    const u32 word = reinterpret_cast<const u32*>(rows)[index / 2];
    return {bits_as_float(word << 16U), bits_as_float(word & 0xFFFF0000U)};
  }
};
struct RawF32 {
  static constexpr u32 kBytes = 4;
  KVAULT_DEVICE static float at(const std::byte* rows, u32 index) {
    return reinterpret_cast<const float*>(rows)[index];
  }
  KVAULT_DEVICE static float2 pair_at(const std::byte* rows, u32 index) {
    return reinterpret_cast<const float2*>(rows)[index / 2];
  }
};

/// take(one of them): so that a loop asks once, not at every element.
template <class Take>
KVAULT_DEVICE void with_raw_format(u32 format, const Take& take) {
  if (format == KVAULT_FORMAT_RAW_F16) {
    take(RawF16());
  } else if (format == KVAULT_FORMAT_RAW_BF16) {
    take(RawBFloat16());
  } else {
    take(RawF32());
  }
}

/// Element `index` of raw rows.
KVAULT_DEVICE float raw_element(const std::byte* rows, u32 format, u32 index) {
  float result = 0;
  with_raw_format(format, [&](auto raw) { result = raw.at(rows, index); });
  return result;
}

KVAULT_CONSTANT unsigned char kAllLevels[] = {KVAULT_TQ4_TABLE, KVAULT_TQ3_TABLE, KVAULT_TQ2_TABLE};

/// Tables of the three codebooks behind one another, around the centre, in shared memory.
struct Levels {
  float at[sizeof(kAllLevels)];

  /// Fills them; a sync_block() has to follow.
  KVAULT_DEVICE void load() {
    const u32 i = thread_index();
    if (i < sizeof(kAllLevels)) {
      at[i] = static_cast<float>(kAllLevels[i]) - static_cast<float>(KVAULT_TABLE_CENTRE);
    }
  }
  KVAULT_DEVICE const float* of(u32 scheme) const {
    return at + (scheme == KVAULT_FORMAT_TQ4 ? 0 : scheme == KVAULT_FORMAT_TQ3 ? 16 : 24);
  }
};

/// Nibble word `index` of a row of packed codes of 4, 3 or 2 bits; docs/format.md, "pack".
KVAULT_DEVICE u32 nibble_word(u32 scheme, const u32* row, u32 index) {
  if (scheme == KVAULT_FORMAT_TQ4) return row[index];
  if (scheme == KVAULT_FORMAT_TQ2) return (row[index / 2] >> (2 * (index % 2))) & 0x33333333U;
  const u32* const group = row + index / 4 * 3;
  if (index % 4 < 3) return group[index % 4] & 0x77777777U;
  return ((group[0] >> 3U) & 0x11111111U) | ((group[1] >> 2U) & 0x22222222U) |
         ((group[2] >> 1U) & 0x44444444U);
}

/// The level, around the centre, of code `index` of a row of packed codes.
KVAULT_DEVICE float level_at(const Levels& levels, u32 scheme, const std::byte* row, u32 index) {
  if (scheme == KVAULT_FORMAT_Q8) {
    return static_cast<float>(reinterpret_cast<const signed char*>(row)[index]);
  }
  const u32 word = nibble_word(scheme, reinterpret_cast<const u32*>(row), index / 8);
  return levels.of(scheme)[(word >> (4 * (index % 8))) & 15U];
}

/// Among a block's codes, in the order in which they are packed, the place of one.
KVAULT_DEVICE u32 place_of_code(bool is_value, u32 row, u32 dim, u32 padded) {
  if (!is_value) return row * padded + dim;
  const u32 quad = row / KVAULT_QUAD_N_TOKEN;
  return (quad * padded + dim) * KVAULT_QUAD_N_TOKEN + row % KVAULT_QUAD_N_TOKEN;
}

}  // namespace kvault::cuda
