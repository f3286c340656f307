#include "tests/torture/fuzz/mutator.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace kvault::torture {
namespace {

constexpr std::size_t kPieceMax = 64;
constexpr std::array<std::uint64_t, 14> kEdges = {
    0,    1,    2,     127,        128,        255,       256,
    4095, 4096, 65535, 0x7FFFFFFF, 0xFFFFFFFF, 1U << 30U, ~std::uint64_t{0}};

void put_number(std::vector<std::byte>& bytes, test::Random& random) {
  const std::size_t size = std::size_t{1} << random.integer(0, 3);
  if (bytes.size() < size) return;
  std::size_t at = random.next() % (bytes.size() - size + 1);
  if (random.integer(0, 1) == 0) at -= at % size;
  std::uint64_t value = kEdges[random.next() % kEdges.size()];
  if (random.integer(0, 3) == 0) value += random.next() % 5 - 2;
  for (std::size_t i = 0; i < size; ++i) {
    bytes[at + i] = static_cast<std::byte>(value >> (8 * i) & 0xFFU);
  }
}

/// Overwrites with, inserts or removes a piece.
void move_piece(std::vector<std::byte>& bytes, std::span<const std::byte> source,
                test::Random& random) {
  if (bytes.empty() || source.empty()) return;
  const std::size_t size = 1 + random.next() % std::min(kPieceMax, source.size());
  const std::size_t from = random.next() % (source.size() - size + 1);
  const std::vector<std::byte> piece(source.begin() + static_cast<std::ptrdiff_t>(from),
                                     source.begin() + static_cast<std::ptrdiff_t>(from + size));
  const std::size_t at = random.next() % bytes.size();
  const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
  const std::size_t n_left = bytes.size() - at;
  switch (random.integer(0, 3)) {
    case 0:
      bytes.insert(begin, piece.begin(), piece.end());
      return;
    case 1:
      bytes.erase(begin, begin + static_cast<std::ptrdiff_t>(std::min(size, n_left)));
      return;
    default:
      std::copy_n(piece.begin(), std::min(size, n_left), begin);
  }
}

}  // namespace

void mutate(std::vector<std::byte>& bytes, std::span<const std::byte> other, test::Random& random) {
  const std::uint32_t n_change = 1 + random.integer(0, 3);
  for (std::uint32_t i = 0; i < n_change && !bytes.empty(); ++i) {
    // Heads are where the numbers are.
    const std::size_t span =
        random.integer(0, 1) == 0 ? std::min<std::size_t>(bytes.size(), 512) : bytes.size();
    std::byte& byte = bytes[random.next() % span];
    switch (random.integer(0, 7)) {
      case 0:
      case 1:
        byte ^= static_cast<std::byte>(1U << random.integer(0, 7));
        break;
      case 2:
        byte = static_cast<std::byte>(random.next() & 0xFFU);
        break;
      case 3:
      case 4:
        put_number(bytes, random);
        break;
      case 5: {
        const std::vector<std::byte> copy = bytes;
        move_piece(bytes, copy, random);
        break;
      }
      case 6:
        move_piece(bytes, other, random);
        break;
      default:
        if (random.integer(0, 7) == 0) bytes.resize(random.next() % (bytes.size() + 1));
    }
  }
}

}  // namespace kvault::torture
