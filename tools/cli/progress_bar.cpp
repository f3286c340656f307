#include "tools/cli/progress_bar.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>

namespace kvault::tools {
namespace {

constexpr std::size_t kWidth = 40;
constexpr std::chrono::milliseconds kFirstDraw{300};
constexpr std::chrono::milliseconds kRedraw{100};

}  // namespace

bool is_terminal(int descriptor) {
  // The system calls for this live in core/os; what a descriptor is can be read off the file
  // system.
  std::error_code error;
  const std::filesystem::path link = "/proc/self/fd/" + std::to_string(descriptor);
  const std::string target = std::filesystem::read_symlink(link, error).string();
  return !error && (target.starts_with("/dev/pts/") || target.starts_with("/dev/tty"));
}

ProgressBar::ProgressBar(std::string label, std::uint64_t total, bool is_enabled)
    : label_(std::move(label)),
      total_(std::max<std::uint64_t>(total, 1)),
      is_enabled_(is_enabled && is_terminal(2)),
      next_draw_(Clock::now() + kFirstDraw) {}

ProgressBar::~ProgressBar() {
  if (is_drawn_) std::fprintf(stderr, "\r\033[K");
}

void ProgressBar::show(std::uint64_t done) {
  if (!is_enabled_ || Clock::now() < next_draw_) return;
  const double part = static_cast<double>(std::min(done, total_)) / static_cast<double>(total_);
  const auto n_full = static_cast<std::size_t>(part * static_cast<double>(kWidth));
  const std::string bar = std::string(n_full, '#') + std::string(kWidth - n_full, '.');
  std::fprintf(stderr, "\r%s [%s] %3.0f %%\033[K", label_.c_str(), bar.c_str(), part * 100);
  std::fflush(stderr);
  is_drawn_ = true;
  next_draw_ = Clock::now() + kRedraw;
}

}  // namespace kvault::tools
