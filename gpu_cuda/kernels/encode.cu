#include <cfloat>

#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/block.cuh"
#include "gpu_cuda/kernels/rotate.cuh"

// Raw rows to a coded block, by a block of threads. The mean is found before anything is rotated:
// the rotation is linear, so that the mean of the rotated rows is the rotated mean, and orthogonal,
// so that energies are those of the rows as they are. Rows are then rotated once, less the mean.

namespace kvault::cuda {
namespace {

// Of EncodeParams::scale_rule, beside the plain one; core/codec/scale_rule.hpp.
constexpr u32 kMatched = 1;
constexpr u32 kLeastSquares = 2;
constexpr u32 kUnbiased = 3;

// The least scale, and residuals too large for any: below them sums of squares stay within float.
constexpr float kLeastSize = 6.103515625e-05F;  // 2^-14
// Between them the squares of a row's entries and their sum are ordinary numbers.
constexpr float kOrdinaryMin = 9.094947e-13F;  // 2^-40
constexpr float kOrdinaryMax = 1.0e30F;
constexpr float kResidualLimit = 1099511627776.0F;  // 2^40
// No scale of a row as short as this overflows, by whatever rule: it is at most 8 lengths.
constexpr float kSurelyFits = 8192.0F;
constexpr u32 kHalfInfinity = 0x7C00U;
constexpr u32 kHalfMinNormal = 0x0400U;
// Of the 28 dims of a padded row of 112, say, 4 are added.
constexpr u32 kCodesOfGroup = kRowFloats / 48 * 64;

// Of twice a level's range, -127 to 127.
constexpr float kDoubledCentre = 127;
constexpr u32 kCells = 32;
constexpr u32 kCellWidth = 8;
constexpr u32 kInfinityBits = 0x7F800000U;

struct CodeCell {
  float boundary;  ///< where the next code begins; infinity: not in this cell
  u32 code;        ///< below it
};

struct Shared {
  float rows[kRowFloats];
  float factor[KVAULT_HEAD_DIM_MAX];     ///< diagonal of the rotation times equaliser
  float mean_back[KVAULT_HEAD_DIM_MAX];  ///< the rounded mean, rotated back
  std::uint16_t mean[KVAULT_HEAD_DIM_MAX];
  float row_parts[KVAULT_PAGE_N_TOKEN];
  Levels levels;
  CodeCell cells[kCells];
  u32 misfit;
  u32 keeps_mean;
  u32 may_overflow;
  unsigned char codes[kCodesOfGroup];  ///< of a group, in the order in which they are packed
  std::uint16_t scales[KVAULT_PAGE_N_TOKEN];
};

class Encoder {
 public:
  KVAULT_DEVICE Encoder(const EncodeParams& params, const EncodeJob& job, Shared& shared)
      : params_(params),
        job_(job),
        shared_(shared),
        head_dim_(params.rotation.head_dim),
        padded_(padded_dim(params.rotation.head_dim)),
        scheme_(scheme_of(job.target_format)) {}

  /// Writes the block, or nothing where it does not fit.
  KVAULT_DEVICE bool encode();

 private:
  /// Dims `dim` and dim + 1 of a token, equalised and ready for the sums of the rotation.
  KVAULT_DEVICE float2 element_pair(u32 token, u32 dim) const {
    const float2 x = raw_pair(job_.source, job_.source_format, token * head_dim_ + dim);
    return {x.x * shared_.factor[dim], x.y * shared_.factor[dim + 1]};
  }
  KVAULT_DEVICE void load_factor();
  KVAULT_DEVICE void load_cells();
  KVAULT_DEVICE void find_mean();
  KVAULT_DEVICE float energy_ratio(u32 token);
  KVAULT_DEVICE float scaled_energy_ratio(u32 token, float largest);
  KVAULT_DEVICE void decide_mean();
  KVAULT_DEVICE void encode_groups(bool stores);
  KVAULT_DEVICE void quantise_row(u32 row, u32 token);
  KVAULT_DEVICE u32 nearest_code(float doubled, float& level) const;
  KVAULT_DEVICE std::uint16_t scale_bits(float size, float square, float product) const;
  KVAULT_DEVICE u32 nibbles_at(u32 first) const;
  KVAULT_DEVICE u32 packed_word(u32 index) const;
  KVAULT_DEVICE void store_codes(u32 first_row, u32 n_row);
  KVAULT_DEVICE void store_planes();

  const EncodeParams& params_;
  const EncodeJob& job_;
  Shared& shared_;
  u32 head_dim_;
  u32 padded_;
  u32 scheme_;
};

KVAULT_DEVICE void Encoder::load_factor() {
  for (u32 dim = thread_index(); dim < head_dim_; dim += n_thread()) {
    float factor = params_.rotation.scaled_signs[dim];
    if (job_.equaliser != nullptr) factor *= half_as_float(job_.equaliser[dim]);
    shared_.factor[dim] = factor;
    shared_.mean_back[dim] = 0;
    shared_.mean[dim] = 0;
  }
  shared_.levels.load();
  sync_block();
  load_cells();
  if (thread_index() == 0) {
    shared_.misfit = 0;
    shared_.keeps_mean = 0;
    shared_.may_overflow = 0;
  }
  sync_block();
}

/// The mean over the tokens, rotated and rounded, and that rotated back. Groups of threads add up
/// tokens of their own.
KVAULT_DEVICE void Encoder::find_mean() {
  const u32 n_pair = head_dim_ / 2;
  const u32 n_part = n_thread() / n_pair;
  for (u32 i = thread_index(); i < n_part * n_pair; i += n_thread()) {
    const u32 pair = i % n_pair;
    const u32 part = i / n_pair;
    float2 sum = {0, 0};
    for (u32 token = part; token < KVAULT_PAGE_N_TOKEN; token += n_part) {
      const float2 x = element_pair(token, 2 * pair);
      sum.x += x.x;
      sum.y += x.y;
    }
    shared_.rows[(part + 1) * head_dim_ + 2 * pair] = sum.x;
    shared_.rows[(part + 1) * head_dim_ + 2 * pair + 1] = sum.y;
  }
  sync_block();
  for (u32 dim = thread_index(); dim < head_dim_; dim += n_thread()) {
    float sum = 0;
    for (u32 part = 0; part < n_part; ++part) sum += shared_.rows[(part + 1) * head_dim_ + dim];
    shared_.rows[dim] = sum * (1.0F / KVAULT_PAGE_N_TOKEN);
  }
  sync_block();
  rotate_rows(shared_.rows, 1, params_.rotation);
  for (u32 dim = thread_index(); dim < head_dim_; dim += n_thread()) {
    const std::uint16_t rounded = float_as_half(shared_.rows[dim]);
    if ((rounded & 0x7FFFU) >= kHalfInfinity) shared_.misfit = 1;
    shared_.mean[dim] = rounded;
    shared_.rows[dim] = half_as_float(rounded);
  }
  sync_block();
  rotate_rows_back(shared_.rows, 1, params_.rotation);
  for (u32 dim = thread_index(); dim < head_dim_; dim += n_thread()) {
    shared_.mean_back[dim] = shared_.rows[dim] / static_cast<float>(head_dim_);
  }
  sync_block();
}

/// |y - mean|^2 / |y|^2 of a token, by a warp; 1 for a row of zeros.
KVAULT_DEVICE float Encoder::energy_ratio(u32 token) {
  float largest = 0;
  float before = 0;
  float after = 0;
  for (u32 dim = 2 * lane_index(); dim < head_dim_; dim += 2 * kWarpThreads) {
    const float2 x = element_pair(token, dim);
    const float2 rest = {x.x - shared_.mean_back[dim], x.y - shared_.mean_back[dim + 1]};
    largest = fmaxf(largest, fmaxf(fabsf(x.x), fabsf(x.y)));
    before += x.x * x.x + x.y * x.y;
    after += rest.x * rest.x + rest.y * rest.y;
  }
  largest = max_of_warp(largest);
  before = sum_of_warp(before);
  after = sum_of_warp(after);
  const float length = sqrtf(fmaxf(before, after) * static_cast<float>(head_dim_));
  if (!(length < kSurelyFits)) shared_.may_overflow = 1;
  const bool is_ordinary = largest > kOrdinaryMin && after < kOrdinaryMax && before < kOrdinaryMax;
  return is_ordinary ? after / before : scaled_energy_ratio(token, largest);
}

/// Likewise of a row so small or large that its energy has no place in a float: scaled to a maximum
/// of 1..2. What is left of a tiny row beside a mean that it does not resemble is then huge, and
/// more than 2^40 says nothing more.
KVAULT_DEVICE float Encoder::scaled_energy_ratio(u32 token, float largest) {
  const u32 exponent = float_as_bits(largest) >> 23U;
  if (exponent == 0) return 1;
  const float scale = bits_as_float((254U - min(exponent, 253U)) << 23U);
  float before = 0;
  float after = 0;
  for (u32 dim = 2 * lane_index(); dim < head_dim_; dim += 2 * kWarpThreads) {
    const float2 x = element_pair(token, dim);
    const float first = fminf(fabsf(x.x - shared_.mean_back[dim]) * scale, kResidualLimit);
    const float second = fminf(fabsf(x.y - shared_.mean_back[dim + 1]) * scale, kResidualLimit);
    before += (x.x * scale) * (x.x * scale) + (x.y * scale) * (x.y * scale);
    after += first * first + second * second;
  }
  return sum_of_warp(after) / sum_of_warp(before);
}

/// The mean stays where it lowers the sum of the rows' relative energies.
KVAULT_DEVICE void Encoder::decide_mean() {
  for (u32 token = warp_index(); token < KVAULT_PAGE_N_TOKEN; token += n_warp()) {
    const float ratio = energy_ratio(token);
    if (lane_index() == 0) shared_.row_parts[token] = ratio;
  }
  sync_block();
  if (thread_index() == 0) {
    float sum = 0;
    for (u32 token = 0; token < KVAULT_PAGE_N_TOKEN; ++token) sum += shared_.row_parts[token];
    shared_.keeps_mean = is_centred(job_.target_format) && sum < KVAULT_PAGE_N_TOKEN ? 1 : 0;
  }
  sync_block();
}

/// Cells of the levels' range, doubled, each with at most one boundary between codes.
KVAULT_DEVICE void Encoder::load_cells() {
  if (thread_index() >= kCells || scheme_ == KVAULT_FORMAT_Q8) return;
  const float* const levels = shared_.levels.of(scheme_);
  const float begin = static_cast<float>(thread_index() * kCellWidth) - kDoubledCentre;
  CodeCell cell = {bits_as_float(kInfinityBits), 0};
  for (u32 code = 1; code < 1U << code_bits(scheme_); ++code) {
    const float boundary = levels[code] + levels[code - 1];
    if (boundary < begin) {
      cell.code = code;
    } else if (boundary < begin + kCellWidth) {
      cell.boundary = boundary;
    }
  }
  shared_.cells[thread_index()] = cell;
}

/// The code whose level is nearest to `doubled` / 2, around the centre. Boundaries are the middles
/// of levels.
KVAULT_DEVICE u32 Encoder::nearest_code(float doubled, float& level) const {
  const float place = (doubled + kDoubledCentre) * (1.0F / kCellWidth);
  const CodeCell cell =
      shared_.cells[static_cast<u32>(fminf(fmaxf(place, 0.0F), static_cast<float>(kCells - 1)))];
  const u32 code = cell.code + (doubled >= cell.boundary ? 1 : 0);
  level = shared_.levels.of(scheme_)[code];
  return code;
}

/// +0 where the scale or the row is too small; infinity or NaN where it is too large.
KVAULT_DEVICE std::uint16_t Encoder::scale_bits(float size, float square, float product) const {
  if (size < kLeastSize) return 0;
  float scale = size;
  if (scheme_ != KVAULT_FORMAT_Q8) {
    if (params_.scale_rule == kMatched) scale = size / (sqrtf(square) * job_.step);
    if (params_.scale_rule == kLeastSquares) scale = product / (square * job_.step);
    if (params_.scale_rule == kUnbiased) scale = size * (size / (product * job_.step));
  }
  const std::uint16_t bits = float_as_half(scale);
  return bits < kHalfMinNormal ? 0 : bits;
}

/// Codes and scale of a rotated row, by a warp.
KVAULT_DEVICE void Encoder::quantise_row(u32 row, u32 token) {
  const float* const residual = shared_.rows + row * head_dim_;
  const bool is_q8 = scheme_ == KVAULT_FORMAT_Q8;
  const bool is_value = params_.is_value != 0;
  float largest = 0;
  float energy = 0;
  for (u32 dim = lane_index(); dim < head_dim_; dim += kWarpThreads) {
    largest = fmaxf(largest, fabsf(residual[dim]));
    energy += residual[dim] * residual[dim];
  }
  largest = max_of_warp(largest);
  const float size = is_q8 ? largest : sqrtf(sum_of_warp(energy));
  const float numerator = is_q8 ? static_cast<float>(KVAULT_Q8_CODE_MAX) : 2.0F / job_.step;
  const float factor = size < kLeastSize ? 0.0F : numerator / size;
  float square = 0;
  float product = 0;
  for (u32 dim = lane_index(); dim < padded_; dim += kWarpThreads) {
    u32 code = 0;
    if (dim < head_dim_ && is_q8) {
      const float limit = KVAULT_Q8_CODE_MAX;
      const float integer = fminf(fmaxf(rintf(residual[dim] * factor), -limit), limit);
      code = static_cast<u32>(static_cast<int>(integer)) & 0xFFU;
    } else if (dim < head_dim_) {
      float level = 0;
      code = nearest_code(residual[dim] * factor, level);
      square += level * level;
      product += level * residual[dim];
    }
    shared_.codes[place_of_code(is_value, row, dim, padded_)] = static_cast<unsigned char>(code);
  }
  square = sum_of_warp(square);
  product = sum_of_warp(product);
  if (lane_index() != 0) return;
  const std::uint16_t bits = scale_bits(size, square, product);
  shared_.scales[token] = bits;
  if (!(largest < kResidualLimit) || bits >= kHalfInfinity) shared_.misfit = 1;
}

KVAULT_DEVICE u32 Encoder::nibbles_at(u32 first) const {
  u32 word = 0;
  for (u32 i = 0; i < 8; ++i) word |= static_cast<u32>(shared_.codes[first + i]) << (4 * i);
  return word;
}

/// A word of the group's packed codes; docs/format.md, "pack".
KVAULT_DEVICE u32 Encoder::packed_word(u32 index) const {
  if (scheme_ == KVAULT_FORMAT_TQ4) return nibbles_at(8 * index);
  if (scheme_ == KVAULT_FORMAT_TQ2) {
    return nibbles_at(16 * index) | (nibbles_at(16 * index + 8) << 2U);
  }
  if (scheme_ == KVAULT_FORMAT_TQ3) {
    const u32 four = index / 3;
    const u32 last = nibbles_at(32 * four + 24) >> (index % 3);
    return nibbles_at(32 * four + 8 * (index % 3)) | ((last & 0x11111111U) << 3U);
  }
  return reinterpret_cast<const u32*>(shared_.codes)[index];
}

KVAULT_DEVICE void Encoder::store_codes(u32 first_row, u32 n_row) {
  const u32 row_words = padded_ * code_bits(scheme_) / 32;
  auto* const target = reinterpret_cast<u32*>(job_.target) + first_row * row_words;
  for (u32 i = thread_index(); i < n_row * row_words; i += n_thread()) target[i] = packed_word(i);
}

KVAULT_DEVICE void Encoder::encode_groups(bool stores) {
  const u32 n_row = rows_of_group(head_dim_);
  const bool centres = shared_.keeps_mean != 0;
  for (u32 first_row = 0; first_row < KVAULT_PAGE_N_TOKEN; first_row += n_row) {
    for (u32 i = 2 * thread_index(); i < n_row * head_dim_; i += 2 * n_thread()) {
      const u32 dim = i % head_dim_;
      const float2 x = element_pair(first_row + i / head_dim_, dim);
      shared_.rows[i] = centres ? x.x - shared_.mean_back[dim] : x.x;
      shared_.rows[i + 1] = centres ? x.y - shared_.mean_back[dim + 1] : x.y;
    }
    sync_block();
    rotate_rows(shared_.rows, n_row, params_.rotation);
    for (u32 row = warp_index(); row < n_row; row += n_warp()) quantise_row(row, first_row + row);
    sync_block();
    if (stores) store_codes(first_row, n_row);
    sync_block();
  }
}

KVAULT_DEVICE void Encoder::store_planes() {
  auto* const scales = const_cast<std::uint16_t*>(scales_of(job_.target, scheme_, head_dim_));
  for (u32 i = thread_index(); i < KVAULT_PAGE_N_TOKEN; i += n_thread()) {
    scales[i] = shared_.scales[i];
  }
  auto* const mean = const_cast<std::uint16_t*>(mean_of(job_.target, scheme_, head_dim_));
  const u32 n_half = (job_.size_bytes - mean_offset_bytes(scheme_, head_dim_)) / 2;
  for (u32 i = thread_index(); i < n_half; i += n_thread()) {
    mean[i] = shared_.keeps_mean != 0 && i < head_dim_ ? shared_.mean[i] : 0;
  }
}

/// Where a scale might overflow, all are found before anything is written.
KVAULT_DEVICE bool Encoder::encode() {
  load_factor();
  if (is_centred(job_.target_format)) find_mean();
  decide_mean();
  if (shared_.misfit == 0 && shared_.may_overflow != 0) encode_groups(false);
  const bool fits = shared_.misfit == 0;
  if (!fits) return false;
  encode_groups(true);
  store_planes();
  return true;
}

}  // namespace

KVAULT_KERNEL(kBlockThreads, 2) kvault_encode(const EncodeParams params) {
  KVAULT_SHARED(Shared, shared);
  const EncodeJob job = params.jobs[block_index()];
  const bool fits = Encoder(params, job, shared).encode();
  if (thread_index() == 0) params.misfits[block_index()] = fits ? 0 : 1;
}

}  // namespace kvault::cuda
