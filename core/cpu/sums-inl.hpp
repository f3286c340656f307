// What becomes of the integer sums of a strip, however they were made. Once per instruction set.
#if defined(KVAULT_CPU_SUMS_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVAULT_CPU_SUMS_INL_HPP
#undef KVAULT_CPU_SUMS_INL_HPP
#else
#define KVAULT_CPU_SUMS_INL_HPP
#endif

#include "core/cpu/cell-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace {

/// One number of the two planes' sums: the high plane counts 256 times.
HWY_INLINE Sums JoinPlanes(Sums high, Sums low) { return hn::Add(hn::ShiftLeft<8>(high), low); }

/// Makes logits of a row's sums.
class LogitsOf {
 public:
  LogitsOf(const KeyLogits& args, std::size_t row)
      : half_(hn::Set(FloatTag(), args.rows[row].half)),
        factor_(hn::Set(FloatTag(), args.rows[row].factor)),
        offset_(hn::Set(FloatTag(), args.offset[row])),
        token_factor_(args.token_factor),
        logits_(args.logits + row * kPageTokens) {}

  /// Of kLanes tokens from `token` on.
  HWY_INLINE void store(std::size_t token, Sums sums) const {
    const FloatTag d;
    const auto whole = hn::Add(hn::ConvertTo(d, sums), half_);
    const auto scaled = hn::Mul(whole, hn::Load(d, token_factor_ + token));
    hn::Store(hn::MulAdd(scaled, factor_, offset_), d, logits_ + token);
  }

 private:
  hn::Vec<FloatTag> half_;
  hn::Vec<FloatTag> factor_;
  hn::Vec<FloatTag> offset_;
  const float* token_factor_;
  float* logits_;
};

/// Adds a row's sums, and its part of the mean, to its output.
class OutputOf {
 public:
  OutputOf(const ValueSums& args, std::size_t row)
      : factor_(hn::Set(FloatTag(), args.factor[row])),
        mass_(hn::Set(FloatTag(), args.mass[row])),
        mean_(args.mean),
        out_(args.out + row * args.stride) {}

  /// Of kLanes dims from `dim` on.
  HWY_INLINE void add(std::size_t dim, Sums sums) const {
    const FloatTag d;
    auto before = hn::Load(d, out_ + dim);
    if (mean_ != nullptr) before = hn::MulAdd(mass_, hn::Load(d, mean_ + dim), before);
    hn::Store(hn::MulAdd(hn::ConvertTo(d, sums), factor_, before), d, out_ + dim);
  }

 private:
  hn::Vec<FloatTag> factor_;
  hn::Vec<FloatTag> mass_;
  const float* mean_;
  float* out_;
};

}  // namespace
}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
