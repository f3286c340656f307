#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/code_table.cuh"
#include "gpu_cuda/kernels/packed_chunk.cuh"
#include "gpu_cuda/kernels/page_mean.cuh"

// Raw rows to a coded block, by a block of threads, a kernel for every head_dim. Once the mean is
// known, the lanes of a row take the tokens of a quad one after the other, in registers: rotate,
// quantise, pack.

namespace kvault::cuda {
namespace {

// The least scale, and lengths too large for any: below them sums of squares stay within float.
constexpr float kLeastSize = 6.103515625e-05F;  // 2^-14
constexpr float kSizeLimit = 1099511627776.0F;  // 2^40
// No scale of a row as short as this overflows, by whatever rule: it is at most 8 lengths.
constexpr float kSurelyFits = 8192.0F;
constexpr u32 kHalfMinNormal = 0x0400U;
// Added to a number up to 2^22, it leaves its nearest integer in the lowest bits.
constexpr float kIntegerMagic = 12582912.0F;
constexpr u32 kQuads = KVAULT_PAGE_N_TOKEN / KVAULT_QUAD_N_TOKEN;

template <u32 kHeadDim>
struct EncodeShared {
  alignas(16) float exchange[RowShape<kHeadDim>::kExchangeFloats];
  CodeTable table;
  MeanShared<kHeadDim> mean;
  Levels levels;
  float size[KVAULT_PAGE_N_TOKEN];     ///< of q8: the largest entry
  float square[KVAULT_PAGE_N_TOKEN];   ///< sum of level^2
  float product[KVAULT_PAGE_N_TOKEN];  ///< sum of level * entry
  std::uint16_t scales[KVAULT_PAGE_N_TOKEN];
  u32 may_overflow;
  u32 misfit;
};

template <u32 kHeadDim>
class Encoder {
 public:
  using Shape = RowShape<kHeadDim>;
  using Shared = EncodeShared<kHeadDim>;

  KVAULT_DEVICE Encoder(const EncodeParams& params, const EncodeJob& job, Shared& shared)
      : params_(params),
        job_(job),
        shared_(shared),
        case_(case_of(params, job)),
        scheme_(scheme_of(case_.target_format)),
        turner_(shared.exchange) {}

  /// Writes the block, or nothing where it does not fit.
  KVAULT_DEVICE bool encode();

 private:
  KVAULT_DEVICE bool is_q8() const { return scheme_ == KVAULT_FORMAT_Q8; }
  KVAULT_DEVICE void ask_for_rows() const;
  KVAULT_DEVICE void load_tables();
  KVAULT_DEVICE void find_sizes();
  KVAULT_DEVICE void encode_quads(bool stores);
  KVAULT_DEVICE void encode_quad(u32 quad, bool stores);
  KVAULT_DEVICE void quantise(const float (&chunk)[kChunk], u32 token, u32 (&code)[kChunk]);
  KVAULT_DEVICE void quantise_bytes(const float (&chunk)[kChunk], u32 token, u32 (&code)[kChunk]);
  KVAULT_DEVICE void find_scales();
  KVAULT_DEVICE std::uint16_t scale_bits(u32 token) const;
  KVAULT_DEVICE void store_planes() const;

  const EncodeParams& params_;
  const EncodeJob& job_;
  Shared& shared_;
  EncodeCase case_;
  u32 scheme_;
  RowTurner<kHeadDim> turner_;
};

/// All rows come from memory while the tables are made.
template <u32 kHeadDim>
KVAULT_DEVICE void Encoder<kHeadDim>::ask_for_rows() const {
  const u32 size_bytes = KVAULT_PAGE_N_TOKEN * kHeadDim * element_bytes(case_.source_format);
  for (u32 at = thread_index() * kLineBytes; at < size_bytes; at += n_thread() * kLineBytes) {
    prefetch(job_.source + at);
  }
}

template <u32 kHeadDim>
KVAULT_DEVICE void Encoder<kHeadDim>::load_tables() {
  shared_.levels.load();
  if (thread_index() == 0) {
    shared_.may_overflow = 0;
    shared_.misfit = 0;
  }
  sync_block();
  if (!is_q8()) shared_.table.load(shared_.levels, scheme_);
}

/// |y - mean| of the tokens, from energies before the rotation.
template <u32 kHeadDim>
KVAULT_DEVICE void Encoder<kHeadDim>::find_sizes() {
  for (u32 token = thread_index(); token < KVAULT_PAGE_N_TOKEN; token += n_thread()) {
    const float before = sqrtf(shared_.mean.before[token] * static_cast<float>(kHeadDim));
    const float after = sqrtf(shared_.mean.after[token] * static_cast<float>(kHeadDim));
    const float size = shared_.mean.is_kept != 0 ? after : before;
    if (!(size < kSurelyFits)) shared_.may_overflow = 1;
    if (!(size < kSizeLimit)) shared_.misfit = 1;
    shared_.size[token] = size;
  }
  // A mean that is not kept is not taken off.
  if (shared_.mean.is_kept == 0) {
    for (u32 dim = thread_index(); dim < kHeadDim; dim += n_thread()) {
      shared_.mean.change.mean[dim] = 0;
    }
  }
  if (thread_index() == 0 && shared_.mean.fits == 0) shared_.misfit = 1;
  sync_block();
}

template <u32 kHeadDim>
KVAULT_DEVICE void Encoder<kHeadDim>::quantise_bytes(const float (&chunk)[kChunk], u32 token,
                                                     u32 (&code)[kChunk]) {
  float largest = 0;
  KVAULT_UNROLL
  for (u32 i = 0; i < kChunk; ++i) largest = fmaxf(largest, fabsf(chunk[i]));
  largest = max_of_lanes<Shape::kLanes>(largest);
  const float per_step =
      largest < kLeastSize ? 0.0F : KVAULT_Q8_CODE_MAX * reciprocal_fast(largest);
  KVAULT_UNROLL
  for (u32 i = 0; i < kChunk; ++i) {
    code[i] = float_as_bits(fused_multiply_add(chunk[i], per_step, kIntegerMagic));
  }
  if (turner_.lane() == 0) shared_.size[token] = largest;
}

/// Codes of a token's chunk in the lowest bits, and the sums that its scale is made from.
template <u32 kHeadDim>
KVAULT_DEVICE void Encoder<kHeadDim>::quantise(const float (&chunk)[kChunk], u32 token,
                                               u32 (&code)[kChunk]) {
  if (is_q8()) return quantise_bytes(chunk, token, code);
  const float size = shared_.size[token];
  const float per_half_level =
      size < kLeastSize ? 0.0F : 2 * CodeTable::kUnit / job_.step * reciprocal_fast(size);
  const CodeTable::Copy table(shared_.table);
  float product = 0;
  float square = 0;
  KVAULT_UNROLL
  for (u32 i = 0; i < kChunk; ++i) {
    code[i] = table.find(chunk[i], per_half_level);
    product = fused_multiply_add(bits_as_float(code[i]), chunk[i], product);
  }
  if (!case_.is_unbiased) {
    KVAULT_UNROLL
    for (u32 i = 0; i < kChunk; ++i) {
      const float level = bits_as_float(code[i]);
      square = fused_multiply_add(level, level, square);
    }
    square = sum_of_lanes<Shape::kLanes>(turner_.has_chunk() ? square : 0.0F);
  }
  product = sum_of_lanes<Shape::kLanes>(product);
  if (turner_.lane() != 0) return;
  shared_.product[token] = product;
  shared_.square[token] = square;
}

template <u32 kHeadDim>
KVAULT_DEVICE void Encoder<kHeadDim>::encode_quad(u32 quad, bool stores) {
  const u32 bits = is_q8() ? 8 : 4;
  const u32 row_bytes = padded_dim(kHeadDim) * code_bits(scheme_) / 8;
  const bool is_stored = stores && turner_.lane() < padded_dim(kHeadDim) / kChunk;
  const RowSource<kHeadDim> source(job_.source, case_.source_format, turner_, shared_.mean.change);
  u32 column[kChunk] = {};
  KVAULT_NO_UNROLL
  for (u32 i = 0; i < KVAULT_QUAD_N_TOKEN; ++i) {
    const u32 token = quad * KVAULT_QUAD_N_TOKEN + i;
    float outer[Shape::kOuterValues];
    source.load_centred(token, outer);
    float chunk[kChunk];
    turner_.turn(outer, params_.paley_signs.at, chunk);
    u32 code[kChunk];
    quantise(chunk, token, code);
    KVAULT_UNROLL
    for (u32 k = 0; k < kChunk; ++k) {
      if (!turner_.has_chunk()) code[k] = 0;
    }
    if (case_.is_value) {
      KVAULT_UNROLL
      for (u32 k = 0; k < kChunk; ++k) column[k] = shift_pair(code[k], column[k], bits);
    } else {
      store_key_chunk(scheme_, code, is_stored, turner_.lane(), job_.target + token * row_bytes);
    }
  }
  if (!case_.is_value || !is_stored) return;
  store_value_chunk(scheme_, column, turner_.lane(),
                    job_.target + quad * KVAULT_QUAD_N_TOKEN * row_bytes);
}

template <u32 kHeadDim>
KVAULT_DEVICE void Encoder<kHeadDim>::encode_quads(bool stores) {
  KVAULT_NO_UNROLL
  for (u32 first = 0; first < kQuads; first += Shape::kThreads / Shape::kLanes) {
    encode_quad(first + thread_index() / Shape::kLanes, stores);
  }
  sync_block();
}

/// +0 where the scale or the row is too small; infinity or NaN where it is too large.
template <u32 kHeadDim>
KVAULT_DEVICE std::uint16_t Encoder<kHeadDim>::scale_bits(u32 token) const {
  const float size = shared_.size[token];
  if (size < kLeastSize) return 0;
  float scale = size;
  if (!is_q8()) {
    const float square = shared_.square[token];
    const float product = shared_.product[token];
    if (params_.scale_rule == kScaleRuleMatched) scale = size / (sqrtf(square) * job_.step);
    if (params_.scale_rule == kScaleRuleLeastSquares) scale = product / (square * job_.step);
    if (params_.scale_rule == kScaleRuleUnbiased) scale = size * (size / (product * job_.step));
  }
  const std::uint16_t bits = float_as_half(scale);
  return bits < kHalfMinNormal ? 0 : bits;
}

template <u32 kHeadDim>
KVAULT_DEVICE void Encoder<kHeadDim>::find_scales() {
  for (u32 token = thread_index(); token < KVAULT_PAGE_N_TOKEN; token += n_thread()) {
    const std::uint16_t bits = scale_bits(token);
    shared_.scales[token] = bits;
    if (bits >= kHalfInfinity) shared_.misfit = 1;
  }
  sync_block();
}

template <u32 kHeadDim>
KVAULT_DEVICE void Encoder<kHeadDim>::store_planes() const {
  auto* const scales = const_cast<std::uint16_t*>(scales_of(job_.target, scheme_, kHeadDim));
  for (u32 i = thread_index(); i < KVAULT_PAGE_N_TOKEN; i += n_thread()) {
    scales[i] = shared_.scales[i];
  }
  auto* const mean = const_cast<std::uint16_t*>(mean_of(job_.target, scheme_, kHeadDim));
  const u32 n_half = (job_.size_bytes - mean_offset_bytes(scheme_, kHeadDim)) / 2;
  for (u32 i = thread_index(); i < n_half; i += n_thread()) {
    mean[i] = shared_.mean.is_kept != 0 && i < kHeadDim ? shared_.mean.rounded[i] : 0;
  }
}

/// Where a scale might overflow, all are found before anything is written.
template <u32 kHeadDim>
KVAULT_DEVICE bool Encoder<kHeadDim>::encode() {
  ask_for_rows();
  load_tables();
  PageMean<kHeadDim>(params_, job_, case_, shared_.exchange, shared_.mean).find();
  find_sizes();
  if (shared_.misfit == 0 && case_.has_extremes && shared_.may_overflow != 0) {
    encode_quads(false);
    find_scales();
  }
  if (shared_.misfit != 0) return false;
  encode_quads(true);
  find_scales();
  store_planes();
  return true;
}

template <u32 kHeadDim>
KVAULT_DEVICE void encode_block(const EncodeParams& params, EncodeShared<kHeadDim>& shared) {
  const EncodeJob job = params.jobs[block_index()];
  const bool fits = Encoder<kHeadDim>(params, job, shared).encode();
  if (thread_index() == 0) params.misfits[block_index()] = fits ? 0 : 1;
}

}  // namespace

#define KVAULT_ROW_KERNEL(head_dim)                                       \
  KVAULT_KERNEL(row_threads(head_dim), RowShape<head_dim>::kBlocksAtOnce) \
                                                                          \
  kvault_encode_##head_dim(const EncodeParams params) {                   \
    KVAULT_SHARED(EncodeShared<head_dim>, shared);                        \
    encode_block<head_dim>(params, shared);                               \
  }
#ifdef KVAULT_COUNTED_FORMAT
KVAULT_ROW_KERNEL(128)
#else
#include "gpu_cuda/row_kernels.inc"
#endif
#undef KVAULT_ROW_KERNEL

}  // namespace kvault::cuda
