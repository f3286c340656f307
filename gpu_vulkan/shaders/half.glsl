// Element types of rows and planes, converted bit by bit: what hardware does with subnormals, NaN
// and ties is the driver's choice, these bits are the format's. core/base/half.hpp.

const uint kHalfSign = 0x8000u;
const uint kHalfInfinity = 0x7C00u;
const uint kHalfNan = 0x7E00u;
const uint kHalfMinNormal = 0x0400u;
const uint kFloatSign = 0x80000000u;
const uint kFloatInfinity = 0x7F800000u;
const uint kFloatBias = 127;
const uint kMantissaBits = 23;
const uint kMantissaMask = 0x007FFFFFu;
const uint kMantissaLead = 0x00800000u;
// The bits of a float less those of its half: mantissa bits, and the difference of the exponents'
// biases.
const uint kHalfShift = 13;
const uint kBiasDifference = 112;
// Exponent fields of floats.
const uint kLeastHalfExponent = 103;    // 2^-24
const uint kNormalHalfExponent = 113;   // 2^-14
const uint kHalfOverflow = 0x477FF000u;  // 65520, which rounds to infinity

// The bits of the float that a half is. Exact.
uint float_bits_of_half(uint bits) {
  const uint sign = (bits & kHalfSign) << 16;
  const uint magnitude = bits & 0x7FFFu;
  if (magnitude >= kHalfInfinity) return sign | kFloatInfinity | (magnitude << kHalfShift);
  if (magnitude >= kHalfMinNormal) {
    return sign | ((magnitude << kHalfShift) + (kBiasDifference << kMantissaBits));
  }
  if (magnitude == 0) return sign;
  const uint lead = uint(findMSB(magnitude));
  const uint mantissa = (magnitude << (kMantissaBits - lead)) & kMantissaMask;
  return sign | ((lead + kLeastHalfExponent) << kMantissaBits) | mantissa;
}

// Nearest half to the float of these bits, ties to even; overflow becomes infinity, NaN stays NaN.
uint half_bits_of_float(uint bits) {
  const uint sign = (bits >> 16) & kHalfSign;
  const uint magnitude = bits & ~kFloatSign;
  if (magnitude > kFloatInfinity) return sign | kHalfNan;
  if (magnitude >= kHalfOverflow) return sign | kHalfInfinity;
  const uint exponent = magnitude >> kMantissaBits;
  if (exponent >= kNormalHalfExponent) {
    const uint rebased = magnitude - (kBiasDifference << kMantissaBits);
    const uint odd = (rebased >> kHalfShift) & 1;
    return sign | ((rebased + (1u << (kHalfShift - 1)) - 1 + odd) >> kHalfShift);
  }
  if (exponent + 1 < kLeastHalfExponent) return sign;  // less than half of the least
  const uint mantissa = (magnitude & kMantissaMask) | kMantissaLead;
  const uint shift = kLeastHalfExponent + kMantissaBits - exponent;  // 14..24
  const uint floor_bits = mantissa >> shift;
  const uint rest = mantissa & ((1u << shift) - 1);
  const uint tie = 1u << (shift - 1);
  const bool rounds_up = rest > tie || (rest == tie && (floor_bits & 1) == 1);
  return sign | (floor_bits + (rounds_up ? 1u : 0u));
}

// Nearest bfloat16 likewise.
uint bfloat16_bits_of_float(uint bits) {
  if ((bits & ~kFloatSign) > kFloatInfinity) return (bits >> 16) | 0x40u;
  return (bits + 0x7FFFu + ((bits >> 16) & 1)) >> 16;
}

// The bits of the float that element `index` of raw rows is.
uint float_bits_at(Words words, uint format, uint index) {
  if (format == KVAULT_FORMAT_RAW_F32) return words.at[index];
  const uint bits = (words.at[index / 2] >> (16 * (index & 1))) & 0xFFFFu;
  return format == KVAULT_FORMAT_RAW_BF16 ? bits << 16 : float_bits_of_half(bits);
}

// The bits of a 16-bit element of raw rows nearest to a float.
uint element_bits(uint format, uint float_bits) {
  return format == KVAULT_FORMAT_RAW_BF16 ? bfloat16_bits_of_float(float_bits)
                                          : half_bits_of_float(float_bits);
}
