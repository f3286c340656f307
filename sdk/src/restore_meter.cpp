#include "sdk/src/restore_meter.hpp"

#include <utility>

namespace kvault {

RestoreMeter::RestoreMeter(client::Progress progress, std::uint32_t deadline_ms)
    : progress_(std::move(progress)),
      begin_(std::chrono::steady_clock::now()),
      limit_(deadline_ms) {}

Result<> RestoreMeter::report(std::uint64_t bytes) const {
  const std::uint64_t done_bytes = done_bytes_ + bytes;
  if (progress_ && !progress_(done_bytes, total_bytes_)) {
    return fail(Errc::cancelled,
                message("cancelled after ", done_bytes, " of ", total_bytes_, " bytes"));
  }
  if (limit_.count() > 0 && std::chrono::steady_clock::now() - begin_ > limit_) {
    return fail(Errc::timeout,
                message("the restore has not ended within its ", limit_.count(),
                        " ms: ", done_bytes, " of ", total_bytes_, " bytes are loaded"));
  }
  return {};
}

}  // namespace kvault
