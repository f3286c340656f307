#include "core/format/row_packing.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "core/base/half.hpp"

namespace kvault {
namespace {

std::vector<std::byte> random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

/// Rows as a model's are: near a Gaussian, f16.
std::vector<std::byte> gaussian_rows(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<Half> rows(n);
  for (Half& entry : rows) entry = to_half(normal(random));
  const std::span<const std::byte> bytes = std::as_bytes(std::span(rows));
  return {bytes.begin(), bytes.end()};
}

/// By the same packer, whatever it packed before.
class Packer {
 public:
  std::vector<std::byte> operator()(std::span<const std::byte> rows, std::size_t element_bytes,
                                    std::size_t size_bytes_max = SIZE_MAX) {
    const auto packed = packer_.pack(rows, element_bytes, size_bytes_max);
    return {packed.begin(), packed.end()};
  }

 private:
  RowPacker packer_;
};

std::vector<std::byte> unpacked(const std::vector<std::byte>& packed, std::size_t element_bytes,
                                std::size_t size) {
  std::vector<std::byte> rows(size, std::byte{0xEE});
  const Result<> done = RowUnpacker().unpack(packed, element_bytes, rows);
  INFO((done ? "" : done.error().message));
  REQUIRE(done);
  return rows;
}

}  // namespace

TEST_CASE("short: row packing: rows come back, whatever they are") {
  Packer pack;
  for (const std::size_t element_bytes : {2U, 4U}) {
    CAPTURE(element_bytes);
    for (const std::size_t n : {1U, 2U, 127U, 4096U, 200'003U}) {
      CAPTURE(n);
      const std::vector<std::byte> noise = random_bytes(n * element_bytes, 7);
      CHECK(unpacked(pack(noise, element_bytes), element_bytes, noise.size()) == noise);
      const std::vector<std::byte> zeros(n * element_bytes);
      CHECK(unpacked(pack(zeros, element_bytes), element_bytes, zeros.size()) == zeros);
    }
  }
}

TEST_CASE("short: row packing: what a Gaussian leaves of 16 bits, and no more than is asked for") {
  const std::vector<std::byte> rows = gaussian_rows(64 * 1024, 3);
  Packer pack;
  const std::vector<std::byte> packed = pack(rows, 2);
  // Sign and exponent of a standard Gaussian carry 3.6 bits of their 6, mantissas all of theirs.
  const double share = static_cast<double>(packed.size()) / static_cast<double>(rows.size());
  CHECK(share < 0.87);
  CHECK(share > 0.84);
  CHECK(unpacked(packed, 2, rows.size()) == rows);
  CHECK(pack(rows, 2, packed.size()) == packed);
  CHECK(pack(rows, 2, packed.size() - 1).empty());
  const std::vector<std::byte> noise = random_bytes(rows.size(), 4);
  CHECK(pack(noise, 2, noise.size() - 1).empty());
}

TEST_CASE(
    "short: row packing: damage and wrong sizes are named or give other rows, never a crash") {
  const std::vector<std::byte> rows = gaussian_rows(2000, 5);
  const std::vector<std::byte> packed = Packer()(rows, 2);
  std::vector<std::byte> target(rows.size());
  CHECK(RowUnpacker().unpack({}, 2, target).error().code == Errc::corrupt);
  for (const std::size_t size : {rows.size() - 2, rows.size() + 2, std::size_t{2}}) {
    std::vector<std::byte> other(size);
    CHECK(RowUnpacker().unpack(packed, 2, other).error().code == Errc::corrupt);
  }
  for (std::size_t size = 0; size < packed.size(); size += 13) {
    CAPTURE(size);
    CHECK(RowUnpacker().unpack(std::span(packed).first(size), 2, target).error().code ==
          Errc::corrupt);
  }
  std::mt19937 random(6);
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::byte> damaged = packed;
    for (int n = 0; n <= round % 4; ++n) damaged[random() % damaged.size()] ^= std::byte{0x41};
    static_cast<void>(RowUnpacker().unpack(damaged, 2, target));
    static_cast<void>(RowUnpacker().unpack(
        random_bytes(random() % 300, static_cast<unsigned>(random())), 2, target));
  }
}

}  // namespace kvault
