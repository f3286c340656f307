#include "tools/bench/random_block.hpp"

#include <cmath>
#include <cstring>
#include <random>

#include "core/layout/block_layout.hpp"

namespace kvault::tools {

RandomBlocks::RandomBlocks(std::uint32_t head_dim) : head_dim_(head_dim) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 4096; ++i) normals_.push_back(to_half(normal(generator)));
}

std::uint64_t RandomBlocks::next() {  // SplitMix64
  state_ += 0x9E3779B97F4A7C15U;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

void RandomBlocks::fill(BlockFormat format, std::byte* block) {
  if (format.is_raw()) return fill_rows(block);
  const BlockLayout layout = BlockLayout::of(format, head_dim_);
  fill_codes(block, layout.codes_size_bytes);
  // The scale of q8 is the largest entry of a row, that of the others about its length.
  const float scale_max =
      format.scheme() == Scheme::q8 ? 2.0F : std::sqrt(static_cast<float>(head_dim_));
  for (std::uint32_t token = 0; token < kPageTokens; ++token) {
    const float part = static_cast<float>(next() >> 40U) * 0x1p-24F;
    const Half scale = to_half(scale_max * (0.5F + 0.5F * part));
    std::memcpy(block + layout.scale_offset_bytes + std::size_t{token} * 2, &scale, 2);
  }
  const std::uint64_t mean_end = format.is_centred() ? layout.size_bytes : layout.mean_offset_bytes;
  std::memset(block + layout.mean_offset_bytes, 0, mean_end - layout.mean_offset_bytes);
  for (std::uint32_t i = 0; format.is_centred() && i < head_dim_; ++i) {
    const Half mean = normal();
    std::memcpy(block + layout.mean_offset_bytes + std::size_t{i} * 2, &mean, 2);
  }
}

void RandomBlocks::fill_rows(std::byte* block) {
  const std::uint64_t n_entry = std::uint64_t{kPageTokens} * head_dim_;
  for (std::uint64_t i = 0; i < n_entry; i += 4) {
    const std::uint64_t bits = next();
    Half entries[4];
    for (unsigned j = 0; j < 4; ++j) entries[j] = normals_[(bits >> (16 * j)) & 0xFFFU];
    std::memcpy(block + i * 2, entries, sizeof entries);
  }
}

void RandomBlocks::fill_codes(std::byte* codes, std::uint64_t size_bytes) {
  for (std::uint64_t i = 0; i < size_bytes; i += 8) {
    const std::uint64_t bits = next();
    std::memcpy(codes + i, &bits, 8);
  }
  // -128 is no code of q8; any other byte is a row of codes in every scheme.
  for (std::uint64_t i = 0; i < size_bytes; ++i) {
    if (codes[i] == std::byte{0x80}) codes[i] = std::byte{0x7F};
  }
}

}  // namespace kvault::tools
