#include "gpu_cuda/encode.hpp"

#include <vector>

#include "core/codec/codebook.hpp"
#include "gpu_cuda/call_tables.hpp"
#include "gpu_cuda/cuda_buffer.hpp"
#include "gpu_cuda/row_kernels.hpp"

namespace kvault::cuda {
namespace {

// What the kernel knows by number.
static_assert(static_cast<int>(ScaleRule::plain) == 0 && static_cast<int>(ScaleRule::matched) == 1);
static_assert(static_cast<int>(ScaleRule::least_squares) == 2);
static_assert(static_cast<int>(ScaleRule::unbiased) == 3);

std::vector<EncodeJob> make_jobs(const EncodeArgs& args, const std::uint16_t* equaliser) {
  std::vector<EncodeJob> jobs;
  jobs.reserve(args.blocks.size());
  for (const EncodeBlock& block : args.blocks) {
    const BlockFormat format = block.target.format;
    jobs.push_back(
        {.source = address_of(args.buffers, block.source),
         .target = address_of(args.buffers, block.target),
         .equaliser = equaliser == nullptr ? nullptr : equaliser + jobs.size() * args.head_dim,
         .source_format = block.source.format.byte(),
         .target_format = format.byte(),
         .step = Codebook::step(format.scheme(), args.head_dim),
         .size_bytes =
             static_cast<std::uint32_t>(BlockLayout::of(format, args.head_dim).size_bytes)});
  }
  return jobs;
}

}  // namespace

Result<> hand_in_encode(Runtime& runtime, const EncodeArgs& args) {
  const std::size_t n_job = args.blocks.size();
  if (n_job == 0) return {};
  CallTables tables(runtime);
  tables.reserve(n_job * sizeof(EncodeJob));
  tables.reserve(args.equaliser.size_bytes());
  KVAULT_CHECK(tables.begin());
  static_assert(sizeof(Half) == sizeof(std::uint16_t));
  const std::uint16_t* equaliser = nullptr;
  if (!args.equaliser.empty()) {
    equaliser = reinterpret_cast<const std::uint16_t*>(tables.add(args.equaliser));
  }
  const std::vector<EncodeJob> jobs = make_jobs(args, equaliser);
  CallMemory misfits(runtime);
  KVAULT_CHECK(misfits.allocate(n_job * sizeof(std::uint32_t)));
  EncodeParams params = {};
  params.jobs = tables.add(std::span<const EncodeJob>(jobs));
  params.misfits = reinterpret_cast<std::uint32_t*>(misfits.address());
  KVAULT_TRY(params.rotation, runtime.rotation(args.head_dim));
  params.paley_signs = paley_signs(args.head_dim);
  params.is_value = args.side == Side::value ? 1 : 0;
  params.scale_rule = static_cast<std::uint32_t>(args.scale_rule);
  KVAULT_CHECK(tables.send());
  KVAULT_CHECK(runtime.launch(row_kernels(args.head_dim).encode, params, n_job));
  auto found = std::make_shared<std::vector<std::uint32_t>>(n_job);
  KVAULT_CHECK(runtime.download(std::as_writable_bytes(std::span(*found)), misfits.address()));
  runtime.stream().when_done([found, outcomes = args.outcomes] {
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      outcomes[i] = (*found)[i] == 0 ? EncodeOutcome::coded : EncodeOutcome::does_not_fit;
    }
  });
  return {};
}

}  // namespace kvault::cuda
