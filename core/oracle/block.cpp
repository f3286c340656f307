#include <bit>

#include "core/oracle/oracle.hpp"

namespace kvault::oracle {
namespace {

constexpr std::uint8_t kF16 = 1;
constexpr std::uint8_t kBf16 = 2;
constexpr std::uint8_t kF32 = 3;
constexpr std::uint8_t kCentred = 128;

bool is_raw(std::uint8_t format) { return format >= kF16 && format <= kF32; }

std::uint64_t padded(std::uint64_t n, std::uint64_t to) { return (n + to - 1) / to * to; }

std::uint32_t byte_at(std::span<const std::byte> bytes, std::size_t at) {
  return std::to_integer<std::uint32_t>(bytes[at]);
}

std::uint16_t u16_at(std::span<const std::byte> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(byte_at(bytes, at) | (byte_at(bytes, at + 1) << 8));
}

std::uint32_t u32_at(std::span<const std::byte> bytes, std::size_t at) {
  return byte_at(bytes, at) | (byte_at(bytes, at + 1) << 8) | (byte_at(bytes, at + 2) << 16) |
         (byte_at(bytes, at + 3) << 24);
}

/// The nibble words of a packed row, [n_word].
std::vector<std::uint32_t> nibble_words(std::span<const std::byte> row, std::uint32_t bits,
                                        std::size_t n_word) {
  std::vector<std::uint32_t> words(n_word);
  for (std::size_t i = 0; i < n_word; ++i) {
    if (bits == 4) {
      words[i] = u32_at(row, 4 * i);
    } else if (bits == 2) {
      words[i] = (u32_at(row, 4 * (i / 2)) >> (2 * (i % 2))) & 0x33333333U;
    } else if (i % 4 < 3) {
      words[i] = u32_at(row, 4 * (3 * (i / 4) + i % 4)) & 0x77777777U;
    } else {
      for (std::size_t j = 0; j < 3; ++j) {
        const std::uint32_t stored = u32_at(row, 4 * (3 * (i / 4) + j));
        words[i] |= ((stored >> 3) & 0x11111111U) << j;
      }
    }
  }
  return words;
}

/// [128, head_dim] from the codes plane.
std::vector<int> read_codes(std::span<const std::byte> plane, bool is_value, std::uint32_t bits,
                            std::size_t head_dim) {
  const std::size_t padded_dim = padded(head_dim, 32);
  const std::size_t n_row = is_value ? kPageTokens / 4 : kPageTokens;
  const std::size_t n_code = is_value ? 4 * padded_dim : padded_dim;
  const std::size_t row_bytes = n_code * bits / 8;
  std::vector<int> codes(kPageTokens * head_dim);
  for (std::size_t r = 0; r < n_row; ++r) {
    const std::vector<int> row = unpack(plane.subspan(r * row_bytes, row_bytes), bits, n_code);
    for (std::size_t k = 0; k < n_code; ++k) {
      const std::size_t token = is_value ? 4 * r + k % 4 : r;
      const std::size_t dim = is_value ? k / 4 : k;
      if (dim < head_dim) codes[token * head_dim + dim] = row[k];
    }
  }
  return codes;
}

std::vector<double> decode_raw(const BlockBytes& block, std::uint32_t head_dim) {
  std::vector<double> rows(kPageTokens * head_dim);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (block.format == kF16) {
      rows[i] = from_f16(u16_at(block.bytes, 2 * i));
    } else if (block.format == kBf16) {
      rows[i] = from_bf16(u16_at(block.bytes, 2 * i));
    } else {
      rows[i] = static_cast<double>(std::bit_cast<float>(u32_at(block.bytes, 4 * i)));
    }
  }
  return rows;
}

Result<> check_size(const BlockBytes& block, std::uint32_t head_dim) {
  KVAULT_TRY(const std::uint64_t size, block_size(block.format, head_dim));
  if (block.bytes.size() == size) return {};
  return fail(block.bytes.size() < size ? Errc::truncated : Errc::shape_mismatch,
              message("a block of format ", block.format, " and head_dim ", head_dim, " has ", size,
                      " bytes, not ", block.bytes.size()));
}

}  // namespace

Result<std::uint32_t> code_bits(std::uint8_t format) {
  if (is_raw(format)) return 0U;
  switch (format & ~kCentred) {
    case 16:
      return 8U;
    case 17:
      return 4U;
    case 18:
      return 3U;
    case 19:
      return 2U;
    default:
      return fail(Errc::unknown_format, message("block format ", format, " is not known"));
  }
}

Result<std::uint64_t> block_size(std::uint8_t format, std::uint32_t head_dim) {
  KVAULT_TRY(const std::uint32_t bits, code_bits(format));
  if (bits == 0) return padded(kPageTokens * head_dim * (format == kF32 ? 4U : 2U), 128);
  const std::uint64_t padded_dim = padded(head_dim, 32);
  const std::uint64_t codes = padded(kPageTokens * padded_dim * bits / 8, 128);
  const std::uint64_t mean = (format & kCentred) != 0 ? padded(2 * padded_dim, 128) : 0;
  return codes + 2 * kPageTokens + mean;
}

std::vector<int> unpack(std::span<const std::byte> row, std::uint32_t bits, std::size_t n_code) {
  std::vector<int> codes(n_code);
  if (bits == 8) {
    for (std::size_t k = 0; k < n_code; ++k) {
      const int unsigned_code = static_cast<int>(byte_at(row, k));
      codes[k] = unsigned_code < 128 ? unsigned_code : unsigned_code - 256;
    }
    return codes;
  }
  const std::vector<std::uint32_t> words = nibble_words(row, bits, n_code / 8);
  for (std::size_t k = 0; k < n_code; ++k) {
    codes[k] = static_cast<int>((words[k / 8] >> (4 * (k % 8))) & 15U);
  }
  return codes;
}

Result<EncodedRows> read_block(const BlockBytes& block, bool is_value, std::uint32_t head_dim) {
  KVAULT_TRY(const std::uint32_t bits, code_bits(block.format));
  if (bits == 0) return fail(Errc::type_mismatch, message("a raw block has no codes"));
  KVAULT_CHECK(check_size(block, head_dim));
  const std::size_t scale_at = padded(kPageTokens * padded(head_dim, 32) * bits / 8, 128);
  const std::size_t mean_at = scale_at + 2 * kPageTokens;
  EncodedRows rows;
  rows.codes = read_codes(block.bytes.first(scale_at), is_value, bits, head_dim);
  for (std::size_t t = 0; t < kPageTokens; ++t) {
    rows.scale.push_back(from_f16(u16_at(block.bytes, scale_at + 2 * t)));
  }
  rows.mean.resize(head_dim);
  for (std::size_t i = 0; i < head_dim && (block.format & kCentred) != 0; ++i) {
    rows.mean[i] = from_f16(u16_at(block.bytes, mean_at + 2 * i));
  }
  return rows;
}

Result<std::vector<double>> decode_block(const BlockBytes& block, bool is_value,
                                         std::uint32_t head_dim, std::span<const double> equaliser,
                                         const Tables& tables) {
  if (is_raw(block.format)) {
    return decode_block(block, is_value, head_dim, equaliser, tables, nullptr);
  }
  KVAULT_TRY(const Rotation rotation, Rotation::create(head_dim));
  return decode_block(block, is_value, head_dim, equaliser, tables, &rotation);
}

Result<std::vector<double>> decode_block(const BlockBytes& block, bool is_value,
                                         std::uint32_t head_dim, std::span<const double> equaliser,
                                         const Tables& tables, const Rotation* rotation) {
  if (!equaliser.empty() && (is_value || equaliser.size() != head_dim)) {
    return fail(Errc::shape_mismatch, message("an equaliser of ", equaliser.size(), " for a ",
                                              is_value ? "V" : "K", " block of ", head_dim));
  }
  KVAULT_CHECK(check_size(block, head_dim));
  if (is_raw(block.format)) return decode_raw(block, head_dim);
  if (rotation == nullptr || rotation->head_dim != head_dim) {
    return fail(Errc::invalid_argument, message("no rotation of order ", head_dim, " was given"));
  }
  KVAULT_TRY(const std::uint32_t bits, code_bits(block.format));
  KVAULT_TRY(const EncodedRows coded, read_block(block, is_value, head_dim));
  const double step = step_of(bits, head_dim, tables);
  std::vector<double> rows(kPageTokens * head_dim);
  std::vector<double> y(head_dim);
  for (std::size_t t = 0; t < kPageTokens; ++t) {
    const std::span<double> x(&rows[t * head_dim], head_dim);
    for (std::size_t i = 0; i < head_dim; ++i) {
      const double value = value_of(coded.codes[t * head_dim + i], bits, tables);
      y[i] = coded.mean[i] + coded.scale[t] * step * value;
    }
    rotation->inverse(y, x);
    for (std::size_t i = 0; i < equaliser.size(); ++i) x[i] /= equaliser[i];
  }
  return rows;
}

}  // namespace kvault::oracle
