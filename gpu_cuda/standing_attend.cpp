#include "gpu_cuda/standing_attend.hpp"

#include "core/base/assert.hpp"

namespace kvault::cuda {

StandingAttend::StandingAttend(std::shared_ptr<Runtime> runtime, std::uint64_t n_page_max)
    : runtime_(std::move(runtime)),
      n_page_max_(n_page_max),
      tables_(*runtime_, std::numeric_limits<std::uint64_t>::max()),
      scratch_(*runtime_) {}

StandingAttend::~StandingAttend() { tables_.reset(); }

Result<> StandingAttend::update(const AttendArgs& args) {
  KVAULT_TRY(std::vector<AttendLaunch> launches,
             lay_attend(*runtime_, args,
                        {.tables = tables_, .scratch = scratch_, .n_page_max = n_page_max_}));
  KVAULT_ASSERT(launches_.empty() || launches_.size() == launches.size());
  launches_ = std::move(launches);
  return {};
}

Result<> StandingAttend::enqueue() {
  KVAULT_ASSERT(!launches_.empty());
  const Context::Scope scope(runtime_->context());
  for (const AttendLaunch& launch : launches_) {
    KVAULT_CHECK(runtime_->launch(launch.kernel, launch.params, launch.n_block));
  }
  return {};
}

}  // namespace kvault::cuda
