#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/packed_chunk.cuh"

// Blocks back to rows, a block of threads for each, a kernel for every head_dim. Coded ones are
// unpacked, rotated back and freed of the equaliser, by the lanes of a row for one token of a quad
// after the other; raw ones are converted.

namespace kvault::cuda {
namespace {

constexpr u32 kQuads = KVAULT_PAGE_N_TOKEN / KVAULT_QUAD_N_TOKEN;

template <u32 kHeadDim>
struct ReconstructShared {
  alignas(16) float exchange[RowShape<kHeadDim>::kExchangeFloats];
  float factor[kHeadDim];  ///< diagonal of the rotation over the equaliser
  Levels levels;
};

KVAULT_DEVICE void store_element(std::byte* rows, u32 row_type, u32 index, float value) {
  if (row_type == KVAULT_FORMAT_RAW_F32) {
    reinterpret_cast<float*>(rows)[index] = value;
  } else {
    reinterpret_cast<std::uint16_t*>(rows)[index] =
        row_type == KVAULT_FORMAT_RAW_F16 ? float_as_half(value) : float_as_bfloat16(value);
  }
}

/// Elements `index`, even, and index + 1.
KVAULT_DEVICE void store_pair(std::byte* rows, u32 row_type, u32 index, float first, float second) {
  if (row_type == KVAULT_FORMAT_RAW_F32) {
    reinterpret_cast<float2*>(rows)[index / 2] = {first, second};
  } else if (row_type == KVAULT_FORMAT_RAW_F16) {
    reinterpret_cast<u32*>(rows)[index / 2] = round_to_halves(first, second);
  } else {
    reinterpret_cast<u32*>(rows)[index / 2] =
        u32{float_as_bfloat16(first)} | u32{float_as_bfloat16(second)} << 16U;
  }
}

KVAULT_DEVICE void convert(const ReconstructJob& job, const ReconstructParams& params) {
  const u32 head_dim = params.rotation.head_dim;
  for (u32 i = thread_index(); i < KVAULT_PAGE_N_TOKEN * head_dim / 2; i += n_thread()) {
    const u32 target = 2 * i / head_dim * params.row_stride + 2 * i % head_dim;
    if (job.format == params.row_type && job.format != KVAULT_FORMAT_RAW_F32) {
      // Bits as they are, those that are not numbers too.
      reinterpret_cast<u32*>(job.rows)[target / 2] = reinterpret_cast<const u32*>(job.block)[i];
    } else {
      with_raw_format(job.format, [&](auto raw) {
        const float2 pair = raw.pair_at(job.block, 2 * i);
        store_pair(job.rows, params.row_type, target, pair.x, pair.y);
      });
    }
  }
}

template <u32 kHeadDim>
class Decoder {
 public:
  using Shape = RowShape<kHeadDim>;
  using Shared = ReconstructShared<kHeadDim>;

  KVAULT_DEVICE Decoder(const ReconstructParams& params, const ReconstructJob& job, Shared& shared)
      : params_(params),
        job_(job),
        shared_(shared),
        scheme_(scheme_of(job.format)),
        row_bytes_(padded_dim(kHeadDim) * code_bits(scheme_) / 8),
        turner_(shared.exchange) {}

  KVAULT_DEVICE void decode() {
    load_tables();
    KVAULT_NO_UNROLL
    for (u32 first = 0; first < kQuads; first += Shape::kThreads / Shape::kLanes) {
      decode_quad(first + thread_index() / Shape::kLanes);
    }
  }

 private:
  KVAULT_DEVICE void load_tables() {
    shared_.levels.load();
    for (u32 dim = thread_index(); dim < kHeadDim; dim += n_thread()) {
      const float factor = params_.rotation.scaled_signs[dim];
      shared_.factor[dim] =
          job_.equaliser != nullptr ? factor / half_as_float(job_.equaliser[dim]) : factor;
    }
    sync_block();
  }
  KVAULT_DEVICE void decode_quad(u32 quad) {
    const u32 first = quad * KVAULT_QUAD_N_TOKEN;
    float mean[kChunk];
    load_mean(mean);
    u32 quad_word[kChunk] = {};
    if (params_.is_value != 0 && turner_.has_chunk()) {
      load_value_chunk(scheme_, job_.block + first * row_bytes_, turner_.lane(), quad_word);
    }
    KVAULT_NO_UNROLL
    for (u32 i = 0; i < KVAULT_QUAD_N_TOKEN; ++i) {
      float chunk[kChunk] = {};
      if (turner_.has_chunk()) {
        const float scale =
            half_as_float(scales_of(job_.block, scheme_, kHeadDim)[first + i]) * job_.step;
        load_levels(first + i, quad_word, chunk);
        KVAULT_UNROLL
        for (u32 k = 0; k < kChunk; ++k) chunk[k] = fused_multiply_add(scale, chunk[k], mean[k]);
      }
      float outer[Shape::kOuterValues] = {};
      turner_.turn_back(chunk, params_.paley_signs.at, outer);
      if (turner_.has_outer()) store(first + i, outer);
    }
  }
  KVAULT_DEVICE void load_mean(float (&mean)[kChunk]) const {
    const bool has_mean = is_centred(job_.format) && turner_.has_chunk();
    const std::uint16_t* const stored =
        mean_of(job_.block, scheme_, kHeadDim) + turner_.lane() * kChunk;
    KVAULT_UNROLL
    for (u32 i = 0; i < kChunk; ++i) mean[i] = has_mean ? half_as_float(stored[i]) : 0.0F;
  }
  KVAULT_DEVICE void load_levels(u32 token, const u32 (&quad_word)[kChunk],
                                 float (&level)[kChunk]) const {
    const u32 of_quad = token % KVAULT_QUAD_N_TOKEN;
    const bool is_value = params_.is_value != 0;
    u32 key_word[4] = {};
    if (!is_value) {
      load_key_chunk(scheme_, job_.block + token * row_bytes_, turner_.lane(), key_word);
    }
    if (scheme_ == KVAULT_FORMAT_Q8) {
      KVAULT_UNROLL
      for (u32 i = 0; i < kChunk; ++i) {
        const u32 word = is_value ? quad_word[i] >> (8 * of_quad) : key_word[i / 4] >> (i % 4 * 8);
        level[i] = static_cast<float>(static_cast<signed char>(word & 0xFFU));
      }
      return;
    }
    const float* const levels = shared_.levels.of(scheme_);
    KVAULT_UNROLL
    for (u32 i = 0; i < kChunk; ++i) {
      const u32 word = is_value ? quad_word[i / 2] >> (16 * (i % 2) + 4 * of_quad)
                                : key_word[i / 8] >> (i % 8 * 4);
      level[i] = levels[word & 15U];
    }
  }
  KVAULT_DEVICE void store(u32 token, const float (&outer)[Shape::kOuterValues]) const {
    KVAULT_UNROLL
    for (u32 i = 0; i < Shape::kOuter; ++i) {
      const u32 dim = turner_.dim_of(i);
      const u32 index = token * params_.row_stride + dim;
      const float* const value = outer + i * Shape::kAdjacent;
      if constexpr (Shape::kAdjacent == 1) {
        store_element(job_.rows, params_.row_type, index, *value * shared_.factor[dim]);
      } else {
        KVAULT_UNROLL
        for (u32 k = 0; k < Shape::kAdjacent; k += 2) {
          store_pair(job_.rows, params_.row_type, index + k, value[k] * shared_.factor[dim + k],
                     value[k + 1] * shared_.factor[dim + k + 1]);
        }
      }
    }
  }

  const ReconstructParams& params_;
  const ReconstructJob& job_;
  Shared& shared_;
  u32 scheme_;
  u32 row_bytes_;
  RowTurner<kHeadDim> turner_;
};

template <u32 kHeadDim>
KVAULT_DEVICE void reconstruct_block(const ReconstructParams& params,
                                     ReconstructShared<kHeadDim>& shared) {
  const ReconstructJob job = params.jobs[block_index()];
  if (is_raw(job.format)) {
    convert(job, params);
  } else {
    Decoder<kHeadDim>(params, job, shared).decode();
  }
}

}  // namespace

#define KVAULT_ROW_KERNEL(head_dim)                                       \
  KVAULT_KERNEL(row_threads(head_dim), RowShape<head_dim>::kBlocksAtOnce) \
                                                                          \
  kvault_reconstruct_##head_dim(const ReconstructParams params) {         \
    KVAULT_SHARED(ReconstructShared<head_dim>, shared);                   \
    reconstruct_block<head_dim>(params, shared);                          \
  }
#include "gpu_cuda/row_kernels.inc"
#undef KVAULT_ROW_KERNEL

}  // namespace kvault::cuda
