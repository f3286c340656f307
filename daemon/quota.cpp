#include "daemon/quota.hpp"

#include <algorithm>
#include <system_error>

namespace kvault {
namespace {

constexpr std::uint64_t kQuotaMax = std::uint64_t{64} << 30U;
constexpr std::uint64_t kQuotaMin = std::uint64_t{64} << 20U;

std::uint64_t used_bytes(const std::filesystem::path& directory) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator entry(directory, error), end;
       !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    const std::uintmax_t size = entry->is_regular_file(ignored) ? entry->file_size(ignored) : 0;
    if (!ignored) bytes += size;
  }
  return bytes;
}

}  // namespace

std::uint64_t default_quota_bytes(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::path existing = directory;
  while (!std::filesystem::exists(existing, error) && existing != existing.parent_path()) {
    existing = existing.parent_path();
  }
  const std::filesystem::space_info space = std::filesystem::space(existing, error);
  if (error) return kQuotaMax;
  return std::clamp((space.available + used_bytes(directory)) / 2, kQuotaMin, kQuotaMax);
}

}  // namespace kvault
