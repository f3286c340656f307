#include "gpu_cuda/reconstruct.hpp"

#include <algorithm>
#include <vector>

#include "core/codec/codebook.hpp"
#include "gpu_cuda/call_tables.hpp"
#include "gpu_cuda/cuda_buffer.hpp"
#include "gpu_cuda/row_kernels.hpp"

namespace kvault::cuda {
namespace {

/// Rows of so many bytes are on the device at once.
constexpr std::uint64_t kWaveBytes = std::uint64_t{32} << 20U;

/// The blocks [first, first + n_block) of a call, whole pages.
Result<> hand_in_wave(Runtime& runtime, const ReconstructArgs& args, std::size_t first,
                      std::size_t n_block) {
  const std::size_t block_bytes = args.rows.size() / args.blocks.size();
  CallTables tables(runtime);
  tables.reserve(n_block * sizeof(ReconstructJob));
  tables.reserve(n_block * args.head_dim * sizeof(Half));
  KVAULT_CHECK(tables.begin());
  const std::uint16_t* equaliser = nullptr;
  if (!args.equaliser.empty()) {
    equaliser = reinterpret_cast<const std::uint16_t*>(
        tables.add(args.equaliser.subspan(first * args.head_dim, n_block * args.head_dim)));
  }
  CallMemory rows(runtime);
  KVAULT_CHECK(rows.allocate(n_block * block_bytes));
  std::vector<ReconstructJob> jobs;
  jobs.reserve(n_block);
  const std::size_t row_bytes = block_bytes / kPageTokens;
  for (std::size_t i = 0; i < n_block; ++i) {
    const std::size_t head = i % args.n_head;
    const std::size_t first_row_bytes = (i - head) * block_bytes + head * row_bytes;
    const BlockRef& block = args.blocks[first + i];
    const Scheme scheme = block.format.scheme();
    jobs.push_back({.block = address_of(args.buffers, block),
                    .equaliser = equaliser == nullptr ? nullptr : equaliser + i * args.head_dim,
                    .rows = reinterpret_cast<std::byte*>(rows.address() + first_row_bytes),
                    .format = block.format.byte(),
                    .step = scheme == Scheme::raw ? 0.0F : Codebook::step(scheme, args.head_dim)});
  }
  ReconstructParams params = {};
  params.jobs = tables.add(std::span<const ReconstructJob>(jobs));
  KVAULT_TRY(params.rotation, runtime.rotation(args.head_dim));
  params.paley_signs = paley_signs(args.head_dim);
  params.is_value = args.side == Side::value ? 1 : 0;
  params.row_type = static_cast<std::uint32_t>(args.row_type);
  params.row_stride = args.n_head * args.head_dim;
  KVAULT_CHECK(tables.send());
  KVAULT_CHECK(runtime.launch(row_kernels(args.head_dim).reconstruct, params, n_block));
  return runtime.download(args.rows.subspan(first * block_bytes, n_block * block_bytes),
                          rows.address());
}

}  // namespace

Result<> hand_in_reconstruct(Runtime& runtime, const ReconstructArgs& args) {
  if (args.blocks.empty()) return {};
  const std::size_t block_bytes = args.rows.size() / args.blocks.size();
  const std::size_t n_wave_page =
      std::max<std::size_t>(1, kWaveBytes / (block_bytes * args.n_head));
  const std::size_t n_wave_block = n_wave_page * args.n_head;
  for (std::size_t first = 0; first < args.blocks.size(); first += n_wave_block) {
    const std::size_t n_block = std::min(n_wave_block, args.blocks.size() - first);
    KVAULT_CHECK(hand_in_wave(runtime, args, first, n_block));
  }
  return {};
}

}  // namespace kvault::cuda
