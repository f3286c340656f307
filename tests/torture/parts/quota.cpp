#include <algorithm>
#include <map>

#include "tests/torture/disk/medium.hpp"
#include "tests/torture/model/player.hpp"
#include "tests/torture/parts/check.hpp"
#include "tests/torture/parts/part.hpp"

/// Programs on a store with the least quota. What goes is what was used longest ago and is not
/// pinned; the files never take more than the quota. Where nothing had to go, a note says so.
namespace kvault::torture {
namespace {

constexpr std::uint64_t kQuota = std::uint64_t{4} << 20U;  // the least
constexpr std::uint64_t kOtherBytes = kQuota / 16 * 12;    // of it, so that little is left
constexpr std::uint64_t kStepsPerStore = 4000;

std::uint64_t size_of(const std::filesystem::path& directory) {
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file() && !entry.path().native().ends_with("-shm")) {
      bytes += entry.file_size();
    }
  }
  return bytes;
}

class QuotaRun {
 public:
  QuotaRun(const std::filesystem::path& directory, std::uint64_t seed, Report& report)
      : report_(report),
        directory_(directory),
        seed_(seed),
        target_(directory),
        player_(target_, seed) {
    require(Image().write_to(directory), "an empty directory");
    target_.set_quota(kQuota, kOtherBytes);
    require(target_.open(), "the first opening");
  }

  bool run(std::uint64_t n_step) {
    for (std::uint64_t i = 0; i < n_step; ++i) {
      const std::map<std::string, SessionInfo> before = infos();
      const Result<> done = player_.step();
      report_.count("quota_steps");
      const bool is_full = !done && done.error().code == Errc::disk_full;
      if (is_full) report_.count("quota_refusals");
      if (!done && !is_full)
        return complain(player_.last_operation() + ": " + done.error().message);
      if (!player_.complaints().empty()) return complain(player_.complaints().front());
      if (!judge_evictions(before)) return false;
      const std::uint64_t bytes = size_of(directory_);
      if (bytes > kQuota - kOtherBytes)
        return complain(message(bytes, " bytes are more than the quota"));
      const Verdict verdict = check_target(target_, player_.world());
      report_.add(verdict, where());
      if (!verdict.is_clean()) return false;
    }
    return true;
  }

 private:
  std::string where() const {
    return message("seed ", seed_, ", step ", player_.n_step(), ", ", player_.last_operation());
  }
  bool complain(const std::string& sentence) {
    report_.wrong(message(where(), ": ", sentence));
    return false;
  }

  std::map<std::string, SessionInfo> infos() {
    std::map<std::string, SessionInfo> infos;
    const Result<std::vector<SessionInfo>> listed = target_.store().list_sessions("", 1000);
    for (const SessionInfo& info : *listed) infos[info.name] = info;
    return infos;
  }

  bool judge_evictions(const std::map<std::string, SessionInfo>& before) {
    const std::map<std::string, SessionInfo> after = infos();
    std::uint64_t newest_gone_s = 0;
    for (const std::string& name : player_.world().names()) {
      if (after.contains(name) || !before.contains(name)) continue;
      const SessionInfo& gone = before.at(name);
      if (gone.attributes.is_pinned) return complain("'" + name + "' was pinned and is gone");
      newest_gone_s = std::max(newest_gone_s, gone.last_used_at_s);
      player_.world().settle(name, std::nullopt);
      report_.count("quota_evictions");
    }
    for (const auto& [name, info] : after) {
      if (info.attributes.is_pinned || info.last_used_at_s >= newest_gone_s) continue;
      return complain("'" + name + "' was used longer ago than one that was evicted");
    }
    return true;
  }

  Report& report_;
  std::filesystem::path directory_;
  std::uint64_t seed_;
  StoreTarget target_;
  Player player_;
};

}  // namespace

void run_quota(const TortureOptions& options, Report& report) {
  const std::uint64_t n_step = options.choose(options.n_step, 400, 10'000);
  for (std::uint64_t n = 0; n < n_step; n += kStepsPerStore) {
    QuotaRun run(options.scratch / "quota", options.seed + n / kStepsPerStore, report);
    if (!run.run(std::min(kStepsPerStore, n_step - n))) return;
    report.progress(message(report.counter("quota_steps"), " steps"));
  }
  if (report.counter("quota_evictions") == 0) report.note("nothing had to be evicted");
}

}  // namespace kvault::torture
