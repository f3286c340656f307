#include "core/codec/pack.hpp"

#include <array>
#include <bit>
#include <cstring>

#include "core/base/assert.hpp"

namespace kvault {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::size_t kCodesPerWord = 8;

/// Eight codes below 16 as the nibbles of a word, the first in the lowest.
std::uint32_t make_word(const std::uint8_t* codes) {
  std::uint32_t word = 0;
  for (std::size_t j = 0; j < kCodesPerWord; ++j) word |= std::uint32_t{codes[j]} << (4 * j);
  return word;
}

void split_word(std::uint32_t word, std::uint8_t* codes) {
  for (std::size_t j = 0; j < kCodesPerWord; ++j) {
    codes[j] = static_cast<std::uint8_t>((word >> (4 * j)) & 0xFU);
  }
}

void store_word(std::byte* target, std::uint32_t word) { std::memcpy(target, &word, 4); }

std::uint32_t load_word(const std::byte* source) {
  std::uint32_t word = 0;
  std::memcpy(&word, source, 4);
  return word;
}

void pack_32_codes_of_3_bits(const std::uint8_t* codes, std::byte* target) {
  const std::uint32_t spread = make_word(codes + 24);
  for (std::size_t j = 0; j < 3; ++j) {
    const std::uint32_t word = make_word(codes + 8 * j);
    store_word(target + 4 * j, (word & 0x77777777U) | (((spread >> j) & 0x11111111U) << 3U));
  }
}

void unpack_32_codes_of_3_bits(const std::byte* source, std::uint8_t* codes) {
  std::uint32_t spread = 0;
  for (std::size_t j = 0; j < 3; ++j) {
    const std::uint32_t word = load_word(source + 4 * j);
    split_word(word & 0x77777777U, codes + 8 * j);
    spread |= ((word >> 3U) & 0x11111111U) << j;
  }
  split_word(spread, codes + 24);
}

}  // namespace

void pack_row(Scheme scheme, std::span<const std::uint8_t> codes, std::span<std::byte> target) {
  const std::uint32_t bits = code_bits_of(scheme);
  KVAULT_ASSERT(bits != 0 && codes.size() % 32 == 0);
  KVAULT_ASSERT(target.size() == codes.size() * bits / 8);
  if (bits == 8) {
    std::memcpy(target.data(), codes.data(), codes.size());
    return;
  }
  for (std::size_t i = 0; i < codes.size(); i += 32) {
    const std::uint8_t* const group = codes.data() + i;
    std::byte* const place = target.data() + i * bits / 8;
    if (bits == 3) {
      pack_32_codes_of_3_bits(group, place);
    } else if (bits == 4) {
      for (std::size_t j = 0; j < 4; ++j) store_word(place + 4 * j, make_word(group + 8 * j));
    } else {
      for (std::size_t j = 0; j < 2; ++j) {
        store_word(place + 4 * j,
                   make_word(group + 16 * j) | (make_word(group + 16 * j + 8) << 2U));
      }
    }
  }
}

void unpack_row(Scheme scheme, std::span<const std::byte> source, std::span<std::uint8_t> codes) {
  const std::uint32_t bits = code_bits_of(scheme);
  KVAULT_ASSERT(bits != 0 && codes.size() % 32 == 0);
  KVAULT_ASSERT(source.size() == codes.size() * bits / 8);
  if (bits == 8) {
    std::memcpy(codes.data(), source.data(), codes.size());
    return;
  }
  for (std::size_t i = 0; i < codes.size(); i += 32) {
    std::uint8_t* const group = codes.data() + i;
    const std::byte* const place = source.data() + i * bits / 8;
    if (bits == 3) {
      unpack_32_codes_of_3_bits(place, group);
    } else if (bits == 4) {
      for (std::size_t j = 0; j < 4; ++j) split_word(load_word(place + 4 * j), group + 8 * j);
    } else {
      for (std::size_t j = 0; j < 2; ++j) {
        const std::uint32_t word = load_word(place + 4 * j);
        split_word(word & 0x33333333U, group + 16 * j);
        split_word((word >> 2U) & 0x33333333U, group + 16 * j + 8);
      }
    }
  }
}

}  // namespace kvault
