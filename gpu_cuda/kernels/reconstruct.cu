#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/block.cuh"
#include "gpu_cuda/kernels/rotate.cuh"

// Blocks back to rows: a group of rows of one block per block of threads. Coded ones are unpacked,
// rotated back and freed of the equaliser; raw ones are converted.

namespace kvault::cuda {
namespace {

struct Shared {
  float rows[kRowFloats];
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

/// Where an element of a block stands among the rows.
KVAULT_DEVICE u32 place_in_rows(const ReconstructParams& params, u32 element) {
  const u32 head_dim = params.rotation.head_dim;
  return element / head_dim * params.row_stride + element % head_dim;
}

KVAULT_DEVICE void convert(const ReconstructJob& job, const ReconstructParams& params, u32 first,
                           u32 n_value) {
  if (job.format == params.row_type) {
    const u32 n_of_word = 4 / element_bytes(job.format);
    const auto* const from = reinterpret_cast<const u32*>(job.block);
    auto* const to = reinterpret_cast<u32*>(job.rows);
    for (u32 i = thread_index(); i < n_value / n_of_word; i += n_thread()) {
      const u32 element = first + i * n_of_word;
      to[place_in_rows(params, element) / n_of_word] = from[element / n_of_word];
    }
    return;
  }
  for (u32 i = thread_index(); i < n_value; i += n_thread()) {
    store_element(job.rows, params.row_type, place_in_rows(params, first + i),
                  raw_element(job.block, job.format, first + i));
  }
}

KVAULT_DEVICE void decode(const ReconstructJob& job, const ReconstructParams& params, u32 first_row,
                          u32 n_row, Shared& shared) {
  const u32 head_dim = params.rotation.head_dim;
  const u32 padded = padded_dim(head_dim);
  const u32 scheme = scheme_of(job.format);
  const std::uint16_t* const scales = scales_of(job.block, scheme, head_dim);
  const std::uint16_t* const mean = mean_of(job.block, scheme, head_dim);
  shared.levels.load();
  sync_block();
  for (u32 i = thread_index(); i < n_row * head_dim; i += n_thread()) {
    const u32 row = first_row + i / head_dim;
    const u32 dim = i % head_dim;
    const u32 place = place_of_code(params.is_value != 0, row, dim, padded);
    const float level = level_at(shared.levels, scheme, job.block, place);
    const float offset = is_centred(job.format) ? half_as_float(mean[dim]) : 0.0F;
    shared.rows[i] = offset + half_as_float(scales[row]) * job.step * level;
  }
  sync_block();
  rotate_rows_back(shared.rows, n_row, params.rotation);
  for (u32 i = thread_index(); i < n_row * head_dim; i += n_thread()) {
    const u32 dim = i % head_dim;
    float factor = params.rotation.scaled_signs[dim];
    if (job.equaliser != nullptr) factor /= half_as_float(job.equaliser[dim]);
    store_element(job.rows, params.row_type, place_in_rows(params, first_row * head_dim + i),
                  shared.rows[i] * factor);
  }
}

}  // namespace

KVAULT_KERNEL(kBlockThreads, 2) kvault_reconstruct(const ReconstructParams params) {
  KVAULT_SHARED(Shared, shared);
  const u32 head_dim = params.rotation.head_dim;
  const u32 n_row = rows_of_group(head_dim);
  const u32 n_group = KVAULT_PAGE_N_TOKEN / n_row;
  const ReconstructJob job = params.jobs[block_index() / n_group];
  const u32 first_row = block_index() % n_group * n_row;
  if (is_raw(job.format)) {
    convert(job, params, first_row * head_dim, n_row * head_dim);
  } else {
    decode(job, params, first_row, n_row, shared);
  }
}

}  // namespace kvault::cuda
