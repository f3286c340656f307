#include "gpu_vulkan/encode.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "core/base/assert.hpp"
#include "core/codec/codebook.hpp"
#include "gpu_vulkan/row_group.hpp"
#include "gpu_vulkan/vulkan_buffer.hpp"

namespace kvault::vulkan {
namespace {

/// Scratch memory of the blocks that are worked on at once; what is more comes in waves.
constexpr std::uint64_t kWaveBytes = std::uint64_t{16} << 20U;
constexpr std::uint64_t kScratchAlignmentBytes = 128;

/// shaders/encode.glsl is the same in GLSL.
struct EncodeJob {
  VkDeviceAddress source;
  VkDeviceAddress target;
  std::uint32_t source_format;
  std::uint32_t index;
};
static_assert(sizeof(EncodeJob) == 24);

struct EncodePush {
  VkDeviceAddress jobs;
  VkDeviceAddress equaliser;
  VkDeviceAddress rotation;
  VkDeviceAddress outcomes;
  VkDeviceAddress scratch;
  std::uint32_t block_stride;
  std::uint32_t column_sums;
  std::uint32_t mean;
  std::uint32_t ratio_sums;
  std::uint32_t misfit;
  std::uint32_t image;
  std::uint32_t image_size;
  float step;
  std::uint32_t is_value;
  std::uint32_t is_centred;
  std::uint32_t scale_rule;
  std::uint32_t unused;
};
static_assert(sizeof(EncodePush) == 88);

// What the shaders know by number.
static_assert(static_cast<int>(ScaleRule::plain) == 0 && static_cast<int>(ScaleRule::matched) == 1);
static_assert(static_cast<int>(ScaleRule::least_squares) == 2);
static_assert(static_cast<int>(ScaleRule::unbiased) == 3);

class EncodeRecorder {
 public:
  EncodeRecorder(Runtime& runtime, const EncodeArgs& args) : runtime_(runtime), args_(args) {}

  Result<> record();

 private:
  std::vector<EncodeJob> make_jobs();
  std::uint64_t scratch_bytes(std::span<const EncodeJob> jobs);
  void set_format(BlockFormat format);
  Result<> record_format(BlockFormat format, VkDeviceAddress jobs, std::uint32_t n_job);
  Result<> record_wave(BlockFormat format, std::uint32_t n_job);
  void fetch_outcomes(const MemoryRange& outcomes);

  Runtime& runtime_;
  const EncodeArgs& args_;
  EncodePush push_ = {};
};

/// The format that a block is to get.
BlockFormat format_of(const EncodeArgs& args, const EncodeJob& job) {
  return args.blocks[job.index].target.format;
}

Result<> EncodeRecorder::record() {
  if (args_.blocks.empty()) return {};
  const std::vector<EncodeJob> jobs = make_jobs();
  push_.is_value = args_.side == Side::value ? 1 : 0;
  push_.scale_rule = static_cast<std::uint32_t>(args_.scale_rule);
  KVAULT_TRY(push_.rotation, runtime_.rotation(args_.head_dim));
  KVAULT_TRY(const VkDeviceAddress job_address, runtime_.put(std::span<const EncodeJob>(jobs)));
  if (!args_.equaliser.empty()) {
    KVAULT_TRY(push_.equaliser, runtime_.put(args_.equaliser));
  }
  KVAULT_TRY(const MemoryRange outcomes,
             runtime_.stage(MemoryKind::download, jobs.size() * sizeof(std::uint32_t)));
  push_.outcomes = outcomes.address;
  KVAULT_TRY(const MemoryRange scratch, runtime_.scratch(scratch_bytes(jobs)));
  push_.scratch = scratch.address;
  KVAULT_CHECK(runtime_.stream().barrier());
  for (std::size_t first = 0; first < jobs.size();) {
    const BlockFormat format = format_of(args_, jobs[first]);
    std::size_t end = first;
    while (end < jobs.size() && format_of(args_, jobs[end]) == format) ++end;
    KVAULT_CHECK(record_format(format, job_address + first * sizeof(EncodeJob),
                               static_cast<std::uint32_t>(end - first)));
    first = end;
  }
  fetch_outcomes(outcomes);
  return {};
}

/// Blocks of a format behind one another.
std::vector<EncodeJob> EncodeRecorder::make_jobs() {
  std::vector<EncodeJob> jobs;
  jobs.reserve(args_.blocks.size());
  for (const EncodeBlock& block : args_.blocks) {
    jobs.push_back({address_of(args_.buffers, block.source),
                    address_of(args_.buffers, block.target), block.source.format.byte(),
                    static_cast<std::uint32_t>(jobs.size())});
  }
  std::stable_sort(jobs.begin(), jobs.end(), [&](const EncodeJob& a, const EncodeJob& b) {
    return format_of(args_, a).byte() < format_of(args_, b).byte();
  });
  return jobs;
}

/// Enough for all blocks of any format, or for a wave of them.
std::uint64_t EncodeRecorder::scratch_bytes(std::span<const EncodeJob> jobs) {
  std::uint64_t all = 0;
  for (const EncodeJob& job : jobs) {
    set_format(format_of(args_, job));
    all += push_.block_stride;
  }
  return std::min(all, kWaveBytes);
}

/// Where a block of this format has what in its scratch memory.
void EncodeRecorder::set_format(BlockFormat format) {
  const std::uint32_t row_bytes = args_.head_dim * sizeof(float);
  const std::uint32_t n_group = groups_of_block(args_.head_dim);
  std::uint64_t end = 0;
  const auto take = [&](std::uint64_t size_bytes) {
    const std::uint64_t at = end;
    end = align_up(end + size_bytes, kScratchAlignmentBytes);
    return static_cast<std::uint32_t>(at);
  };
  take(std::uint64_t{kPageTokens} * row_bytes);
  push_.column_sums = take(std::uint64_t{n_group} * row_bytes);
  push_.mean = take(row_bytes);
  push_.ratio_sums = take(n_group * sizeof(float));
  push_.misfit = take(sizeof(std::uint32_t));
  push_.image_size = static_cast<std::uint32_t>(BlockLayout::of(format, args_.head_dim).size_bytes);
  push_.image = take(push_.image_size);
  push_.block_stride = static_cast<std::uint32_t>(end);
  push_.step = Codebook::step(format.scheme(), args_.head_dim);
  push_.is_centred = format.is_centred() ? 1 : 0;
}

Result<> EncodeRecorder::record_format(BlockFormat format, VkDeviceAddress jobs,
                                       std::uint32_t n_job) {
  set_format(format);
  const auto n_wave_job = static_cast<std::uint32_t>(kWaveBytes / push_.block_stride);
  KVAULT_ASSERT(n_wave_job > 0);
  for (std::uint32_t first = 0; first < n_job; first += n_wave_job) {
    push_.jobs = jobs + first * sizeof(EncodeJob);
    KVAULT_CHECK(record_wave(format, std::min(n_wave_job, n_job - first)));
  }
  return {};
}

Result<> EncodeRecorder::record_wave(BlockFormat format, std::uint32_t n_job) {
  const std::array shape = {args_.head_dim, rows_of_group(args_.head_dim)};
  const std::array coded_shape = {shape[0], shape[1], static_cast<std::uint32_t>(format.scheme())};
  const std::uint32_t n_group = n_job * groups_of_block(args_.head_dim);
  Stream& stream = runtime_.stream();
  KVAULT_CHECK(runtime_.dispatch(Shader::encode_rotate, shape, push_, n_group));
  KVAULT_CHECK(stream.barrier());
  if (format.is_centred()) {
    KVAULT_CHECK(runtime_.dispatch(Shader::encode_centre, shape, push_, n_group));
    KVAULT_CHECK(stream.barrier());
  }
  KVAULT_CHECK(runtime_.dispatch(Shader::encode_quantise, coded_shape, push_, n_group));
  KVAULT_CHECK(stream.barrier());
  KVAULT_CHECK(runtime_.dispatch(Shader::encode_store, shape, push_, n_job));
  return stream.barrier();
}

/// Once the batch is done: to the caller's outcomes.
void EncodeRecorder::fetch_outcomes(const MemoryRange& outcomes) {
  runtime_.stream().when_done([source = outcomes.host, target = args_.outcomes] {
    for (std::size_t i = 0; i < target.size(); ++i) {
      std::uint32_t misfit = 0;
      std::memcpy(&misfit, source + i * sizeof(misfit), sizeof(misfit));
      target[i] = misfit == 0 ? EncodeOutcome::coded : EncodeOutcome::does_not_fit;
    }
  });
}

}  // namespace

Result<> record_encode(Runtime& runtime, const EncodeArgs& args) {
  return EncodeRecorder(runtime, args).record();
}

}  // namespace kvault::vulkan
