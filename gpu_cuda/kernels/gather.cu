#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/block.cuh"

// An engine's rows go to raw blocks, or are looked at for what is not finite: a token for a block
// of threads, in words of two or four bytes as everything is aligned.

namespace kvault::cuda {
namespace {

constexpr u32 kNone = 0xFFFFFFFFU;

struct Shared {
  u32 warp_first[kBlockThreads / kWarpThreads];
};

/// All exponent bits of an element; NaN and infinity have them set.
KVAULT_DEVICE u32 exponent_of(u32 format) {
  if (format == KVAULT_FORMAT_RAW_F32) return 0x7F800000U;
  return format == KVAULT_FORMAT_RAW_F16 ? 0x7C00U : 0x7F80U;
}

/// Of the elements in a word the first that is not finite, or their number.
KVAULT_DEVICE u32 first_in_word(u32 word, u32 format, u32 n_element) {
  const u32 exponent = exponent_of(format);
  if ((word & exponent) == exponent) return 0;
  if (n_element == 2 && ((word >> 16U) & exponent) == exponent) return 1;
  return n_element;
}

/// Copies the token's rows where there is a target; the first element that is not finite.
template <class Word>
KVAULT_DEVICE u32 take_token(const GatherParams& params, u32 token) {
  const u32 row_words = params.row_bytes / sizeof(Word);
  const u32 n_element = sizeof(Word) / element_bytes(params.format);
  const std::byte* const source = params.source + token * params.token_stride_bytes;
  u32 first = kNone;
  for (u32 i = thread_index(); i < params.n_head * row_words; i += n_thread()) {
    const u32 head = i / row_words;
    const u32 at = i % row_words;
    const Word word = reinterpret_cast<const Word*>(source + head * params.head_stride_bytes)[at];
    if (params.target != nullptr) {
      std::byte* const rows = params.target + head * params.target_head_stride_bytes;
      reinterpret_cast<Word*>(rows + std::size_t{token} * params.row_bytes)[at] = word;
    } else {
      const u32 found = first_in_word(word, params.format, n_element);
      if (found < n_element) first = min(first, i * n_element + found);
    }
  }
  return first;
}

KVAULT_DEVICE u32 min_of_block(u32 value, Shared& shared) {
  for (int mask = kWarpThreads / 2; mask > 0; mask /= 2) {
    value = min(value, shuffle_xor(value, mask));
  }
  if (lane_index() == 0) shared.warp_first[warp_index()] = value;
  sync_block();
  for (u32 i = 0; i < n_warp(); ++i) value = min(value, shared.warp_first[i]);
  return value;
}

}  // namespace

KVAULT_KERNEL(kBlockThreads, 2) kvault_gather(const GatherParams params) {
  KVAULT_SHARED(Shared, shared);
  const u32 token = block_index();
  const u32 first = params.word_bytes == 4 ? take_token<u32>(params, token)
                                           : take_token<std::uint16_t>(params, token);
  if (params.target != nullptr) return;
  const u32 found = min_of_block(first, shared);
  if (thread_index() == 0) params.found[token] = found;
}

}  // namespace kvault::cuda
