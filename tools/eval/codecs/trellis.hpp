#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace kvault::eval {

/// Trellis-coded quantisation of numbers of variance 1 (Marcellin and Fischer, IEEE Trans. Comm.
/// 38(1), 1990). A number of b bits has an alphabet of 2^(b+1) ascending values in four cosets,
/// D0 D1 D2 D3 D0 ... One bit of its code, with the same bit of the 8 numbers before it, chooses
/// the coset (Ungerboeck's code of 256 states, parity polynomials 362 and 515 octal); the other b-1
/// bits choose within it. So a number is decoded alone, from its own bits and eight others: XORs of
/// shifted words for a whole row, then a table of 2^(b+1). Before the first number are zeros.
/// Immutable; any thread.
class Trellis {
 public:
  static constexpr std::uint32_t kBitsMax = 6;
  static constexpr std::uint32_t kStates = 256;

  /// Alphabets for each count of bits in `bits` (1..kBitsMax), trained on Gaussian numbers of a
  /// fixed seed and snapped to 128 integer levels, as a stored table is.
  explicit Trellis(std::span<const std::uint32_t> bits);

  /// x[n] to codes[n], each below 2^bits, by Viterbi's algorithm. bits[i % bits.size()] is what
  /// number i gets; 0: none, its code is 0. The lowest bit of a code is the coset's. Of all codes
  /// it finds the one of the least sum of weights[i % weights.size()] * (x[i] - value)^2.
  void encode(std::span<const float> x, std::span<const std::uint8_t> bits,
              std::span<const float> weights, std::span<std::uint8_t> codes) const;
  /// codes[n] to values[n]; looks at a code and the lowest bits of the eight coded before it.
  void decode(std::span<const std::uint8_t> codes, std::span<const std::uint8_t> bits,
              std::span<float> values) const;
  /// The values of numbers of that many bits, ascending, [2^(bits+1)].
  std::span<const float> alphabet(std::uint32_t bits) const { return alphabets_[bits]; }

 private:
  void start_alphabet(std::uint32_t bits);
  void train_alphabet(std::uint32_t bits);
  void snap_alphabet(std::uint32_t bits);

  std::array<std::vector<float>, kBitsMax + 1> alphabets_;
};

}  // namespace kvault::eval
