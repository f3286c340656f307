#include "gpu_vulkan/reconstruct.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "core/codec/codebook.hpp"
#include "gpu_vulkan/row_group.hpp"
#include "gpu_vulkan/vulkan_buffer.hpp"

namespace kvault::vulkan {
namespace {

/// shaders/reconstruct.comp is the same in GLSL.
struct ReconstructJob {
  VkDeviceAddress block;
  std::uint32_t index;
  std::uint32_t unused;
};
static_assert(sizeof(ReconstructJob) == 16);

struct ReconstructPush {
  VkDeviceAddress jobs;
  VkDeviceAddress equaliser;
  VkDeviceAddress rotation;
  VkDeviceAddress rows;
  std::uint32_t first_index;
  float step;
  std::uint32_t is_value;
  std::uint32_t is_centred;
  std::uint32_t n_head;
  std::uint32_t unused;
};
static_assert(sizeof(ReconstructPush) == 56);

class ReconstructRecorder {
 public:
  ReconstructRecorder(Runtime& runtime, const ReconstructArgs& args)
      : runtime_(runtime), args_(args) {}

  Result<> record();

 private:
  Result<> record_wave(std::size_t first, std::size_t n_block);
  Result<> record_format(BlockFormat format, std::uint32_t n_job);
  std::vector<ReconstructJob> make_jobs(std::size_t first, std::size_t n_block);
  BlockFormat format_of(const ReconstructJob& job) const { return args_.blocks[job.index].format; }

  Runtime& runtime_;
  const ReconstructArgs& args_;
  ReconstructPush push_ = {};
};

/// In waves of a piece each, whole pages.
Result<> ReconstructRecorder::record() {
  const std::uint64_t block_bytes =
      std::uint64_t{kPageTokens} * args_.head_dim * size_bytes_of(args_.row_type);
  const std::uint64_t page_bytes = block_bytes * args_.n_head;
  const std::size_t n_wave_block = (kPieceSizeBytes + page_bytes - 1) / page_bytes * args_.n_head;
  for (std::size_t first = 0; first < args_.blocks.size(); first += n_wave_block) {
    const std::size_t n_block = std::min(n_wave_block, args_.blocks.size() - first);
    KVAULT_CHECK(record_wave(first, n_block));
    KVAULT_CHECK(runtime_.pace(n_block * block_bytes));
  }
  return {};
}

/// Blocks of a format behind one another.
std::vector<ReconstructJob> ReconstructRecorder::make_jobs(std::size_t first, std::size_t n_block) {
  std::vector<ReconstructJob> jobs;
  jobs.reserve(n_block);
  for (std::size_t i = first; i < first + n_block; ++i) {
    jobs.push_back({address_of(args_.buffers, args_.blocks[i]), static_cast<std::uint32_t>(i), 0});
  }
  std::stable_sort(jobs.begin(), jobs.end(), [&](const ReconstructJob& a, const ReconstructJob& b) {
    return format_of(a).byte() < format_of(b).byte();
  });
  return jobs;
}

Result<> ReconstructRecorder::record_wave(std::size_t first, std::size_t n_block) {
  const std::vector<ReconstructJob> jobs = make_jobs(first, n_block);
  push_.is_value = args_.side == Side::value ? 1 : 0;
  push_.n_head = args_.n_head;
  push_.first_index = static_cast<std::uint32_t>(first);
  KVAULT_TRY(push_.rotation, runtime_.rotation(args_.head_dim));
  KVAULT_TRY(const VkDeviceAddress job_address,
             runtime_.put(std::span<const ReconstructJob>(jobs)));
  if (!args_.equaliser.empty()) {
    const auto own = args_.equaliser.subspan(first * args_.head_dim, n_block * args_.head_dim);
    KVAULT_TRY(push_.equaliser, runtime_.put(own));
  }
  const std::size_t block_bytes = args_.rows.size() / args_.blocks.size();
  const std::span<std::byte> target =
      args_.rows.subspan(first * block_bytes, n_block * block_bytes);
  KVAULT_TRY(const MemoryRange rows, runtime_.stage(MemoryKind::download, target.size()));
  push_.rows = rows.address;
  KVAULT_CHECK(runtime_.stream().barrier());
  for (std::size_t begin = 0; begin < jobs.size();) {
    const BlockFormat format = format_of(jobs[begin]);
    std::size_t end = begin;
    while (end < jobs.size() && format_of(jobs[end]) == format) ++end;
    push_.jobs = job_address + begin * sizeof(ReconstructJob);
    KVAULT_CHECK(record_format(format, static_cast<std::uint32_t>(end - begin)));
    begin = end;
  }
  runtime_.stream().when_done(
      [source = rows.host, target] { std::memcpy(target.data(), source, target.size()); });
  return {};
}

Result<> ReconstructRecorder::record_format(BlockFormat format, std::uint32_t n_job) {
  std::uint32_t kind = format.byte();
  push_.step = 0;
  push_.is_centred = 0;
  if (!format.is_raw()) {
    kind = static_cast<std::uint32_t>(format.scheme());
    push_.step = Codebook::step(format.scheme(), args_.head_dim);
    push_.is_centred = format.is_centred() ? 1 : 0;
  }
  const std::array constants = {args_.head_dim, rows_of_group(args_.head_dim), kind,
                                static_cast<std::uint32_t>(args_.row_type)};
  return runtime_.dispatch(Shader::reconstruct, constants, push_,
                           n_job * groups_of_block(args_.head_dim));
}

}  // namespace

Result<> record_reconstruct(Runtime& runtime, const ReconstructArgs& args) {
  return ReconstructRecorder(runtime, args).record();
}

}  // namespace kvault::vulkan
