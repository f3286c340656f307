#pragma once

#include "gpu_cuda/kernels/encode_case.cuh"
#include "gpu_cuda/kernels/rotate.cuh"
#include "gpu_cuda/kernels/row_source.cuh"

// The mean of a page's rows, and whether it is worth keeping. It is found before anything is
// rotated: the rotation is linear, so that the mean of the rotated rows is the rotated mean, and
// orthogonal, so that energies are those of the rows as they are.

namespace kvault::cuda {

constexpr u32 kHalfInfinity = 0x7C00U;

template <u32 kHeadDim>
struct MeanShared {
  RowChange<kHeadDim> change;
  std::uint16_t rounded[kHeadDim];    ///< the mean, rotated
  float before[KVAULT_PAGE_N_TOKEN];  ///< |x * factor|^2 of the rows
  float after[KVAULT_PAGE_N_TOKEN];   ///< |x * factor - mean|^2
  float ratio[KVAULT_PAGE_N_TOKEN];   ///< the second over the first
  u32 is_kept;
  u32 fits;  ///< binary16
};

/// By all threads of a block. scratch: [RowShape::kExchangeFloats].
template <u32 kHeadDim>
class PageMean {
 public:
  using Shape = RowShape<kHeadDim>;

  KVAULT_DEVICE PageMean(const EncodeParams& params, const EncodeJob& job, const EncodeCase& which,
                         float* scratch, MeanShared<kHeadDim>& shared)
      : params_(params), job_(job), case_(which), scratch_(scratch), shared_(shared) {}

  /// All of `shared`; where the format is not centred, there is no mean to keep.
  KVAULT_DEVICE void find() {
    load_factor();
    if (is_centred(case_.target_format)) {
      find_sums();
      round();
    }
    if (is_centred(case_.target_format)) {
      find_energies<true>();
    } else {
      find_energies<false>();
    }
    sync_block();
    decide();
    sync_block();
  }

 private:
  // Between them the squares of a row's entries and their sum are ordinary numbers.
  static constexpr float kOrdinaryMin = 8.271806e-25F;  // 2^-80
  static constexpr float kOrdinaryMax = 1.0e30F;
  static constexpr float kRatioLimit = 1099511627776.0F;  // 2^40
  static constexpr u32 kPairs = kHeadDim / 2;
  static constexpr u32 kParts = Shape::kThreads / kPairs;
  static_assert((kParts + 1) * kHeadDim <= Shape::kExchangeFloats);

  KVAULT_DEVICE void load_factor() {
    for (u32 dim = thread_index(); dim < kHeadDim; dim += n_thread()) {
      float factor = params_.rotation.scaled_signs[dim];
      if (job_.equaliser != nullptr) factor *= half_as_float(job_.equaliser[dim]);
      shared_.change.factor[dim] = factor;
      shared_.change.mean[dim] = 0;
      shared_.rounded[dim] = 0;
    }
    if (thread_index() == 0) shared_.fits = 1;
    sync_block();
  }

  /// Sums over the tokens, each pair of dims in kParts parts.
  KVAULT_DEVICE void find_sums() {
    const u32 pair = thread_index() % kPairs;
    const u32 part = thread_index() / kPairs;
    float2 sum = {0, 0};
    if (part < kParts) {
      with_raw_format(case_.source_format, [&](auto raw) {
        const std::byte* at = job_.source + (part * kHeadDim + 2 * pair) * raw.kBytes;
        KVAULT_UNROLL_EIGHT
        for (u32 token = part; token < KVAULT_PAGE_N_TOKEN; token += kParts) {
          const float2 x = raw.pair_at(at, 0);
          at += kParts * kHeadDim * raw.kBytes;
          sum.x += x.x;
          sum.y += x.y;
        }
      });
      store_floats<2>(scratch_ + (part + 1) * kHeadDim + 2 * pair, &sum.x);
    }
    sync_block();
    for (u32 dim = thread_index(); dim < kHeadDim; dim += n_thread()) {
      float total = 0;
      for (u32 i = 0; i < kParts; ++i) total += scratch_[(i + 1) * kHeadDim + dim];
      scratch_[dim] = total * shared_.change.factor[dim] * (1.0F / KVAULT_PAGE_N_TOKEN);
    }
    sync_block();
  }

  /// The mean, rotated and rounded, and that rotated back.
  KVAULT_DEVICE void round() {
    rotate_rows(scratch_, 1, params_.rotation);
    for (u32 dim = thread_index(); dim < kHeadDim; dim += n_thread()) {
      const std::uint16_t rounded = float_as_half(scratch_[dim]);
      if ((rounded & 0x7FFFU) >= kHalfInfinity) shared_.fits = 0;
      shared_.rounded[dim] = rounded;
      scratch_[dim] = half_as_float(rounded);
    }
    sync_block();
    rotate_rows_back(scratch_, 1, params_.rotation);
    for (u32 dim = thread_index(); dim < kHeadDim; dim += n_thread()) {
      shared_.change.mean[dim] = scratch_[dim] / static_cast<float>(kHeadDim);
    }
    sync_block();
  }

  template <bool kCentred>
  KVAULT_DEVICE void find_energies() {
    const RowTurner<kHeadDim> turner(scratch_);
    const RowSource<kHeadDim> source(job_.source, case_.source_format, turner, shared_.change);
    // All lanes of a warp come to every token, whatever their own.
    KVAULT_NO_UNROLL
    for (u32 first = 0; first < KVAULT_PAGE_N_TOKEN; first += Shape::kThreads / Shape::kLanes) {
      const u32 token = first + thread_index() / Shape::kLanes;
      float value[Shape::kOuterValues];
      source.load_equalised(token, value);
      float before = 0;
      float after = 0;
      KVAULT_UNROLL
      for (u32 i = 0; i < Shape::kOuterValues; ++i) {
        before = fused_multiply_add(value[i], value[i], before);
        if constexpr (kCentred) {
          const float rest = value[i] - source.mean(i);
          after = fused_multiply_add(rest, rest, after);
        }
      }
      before = sum_of_lanes<Shape::kLanes>(before);
      after = kCentred ? sum_of_lanes<Shape::kLanes>(after) : before;
      float ratio = 1;
      if constexpr (kCentred) {
        const bool is_ordinary =
            before > kOrdinaryMin && before < kOrdinaryMax && after < kOrdinaryMax;
        if (case_.has_extremes && any_lane(!is_ordinary)) ratio = scaled_ratio(source, value);
        if (is_ordinary) ratio = after * reciprocal_fast(before);
      }
      if (turner.lane() == 0) {
        shared_.before[token] = before;
        shared_.after[token] = after;
        shared_.ratio[token] = ratio;
      }
    }
  }

  /// after / before of a row so small or large that its energy has no place in a float: scaled to a
  /// maximum of 1..2. What is left of a tiny row beside a mean that it does not resemble is then
  /// huge, and more than 2^40 says nothing more. 1 for a row of zeros.
  KVAULT_DEVICE float scaled_ratio(const RowSource<kHeadDim>& source,
                                   const float (&value)[Shape::kOuterValues]) const {
    float largest = 0;
    KVAULT_UNROLL
    for (u32 i = 0; i < Shape::kOuterValues; ++i) largest = fmaxf(largest, fabsf(value[i]));
    const u32 exponent = float_as_bits(max_of_lanes<Shape::kLanes>(largest)) >> 23U;
    const float scale = bits_as_float((254U - min(exponent, 253U)) << 23U);
    float before = 0;
    float after = 0;
    KVAULT_UNROLL
    for (u32 i = 0; i < Shape::kOuterValues; ++i) {
      const float rest = fminf(fabsf(value[i] - source.mean(i)) * scale, kRatioLimit);
      before += (value[i] * scale) * (value[i] * scale);
      after += rest * rest;
    }
    before = sum_of_lanes<Shape::kLanes>(before);
    after = sum_of_lanes<Shape::kLanes>(after);
    return exponent == 0 ? 1.0F : after / before;
  }

  /// The mean stays where it lowers the sum of the rows' relative energies.
  KVAULT_DEVICE void decide() {
    if (warp_index() != 0) return;
    float sum = 0;
    for (u32 token = lane_index(); token < KVAULT_PAGE_N_TOKEN; token += kWarpThreads) {
      sum += shared_.ratio[token];
    }
    sum = sum_of_warp(sum);
    if (lane_index() != 0) return;
    shared_.is_kept = is_centred(case_.target_format) && sum < KVAULT_PAGE_N_TOKEN ? 1 : 0;
  }

  const EncodeParams& params_;
  const EncodeJob& job_;
  EncodeCase case_;
  float* scratch_;
  MeanShared<kHeadDim>& shared_;
};

}  // namespace kvault::cuda
