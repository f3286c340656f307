#include "gpu_vulkan/pipeline_file.hpp"

#include <algorithm>
#include <cstring>

#include "core/os/directory.hpp"
#include "core/os/file.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kvault::vulkan {
namespace {

constexpr std::size_t kUuidBytes = 16;
/// Far more than eight shaders ever compile to.
constexpr std::uint64_t kFileSizeMaxBytes = std::uint64_t{256} << 20U;

struct Head {
  std::uint64_t magic = 0x31454E4C50504B56;  // "VKPPLNE1"
  std::uint8_t driver_uuid[kUuidBytes] = {};
  std::uint64_t size_bytes = 0;
  std::uint64_t checksum = 0;
};

Head head_of(std::span<const std::uint8_t> driver_uuid, std::span<const std::byte> data) {
  Head head;
  std::copy_n(driver_uuid.begin(), std::min(driver_uuid.size(), kUuidBytes), head.driver_uuid);
  head.size_bytes = data.size();
  head.checksum = XXH3_64bits(data.data(), data.size());
  return head;
}

Result<std::vector<std::byte>> read_data(const std::filesystem::path& path,
                                         std::span<const std::uint8_t> driver_uuid) {
  KVAULT_TRY(const File file, File::open_read_only(path));
  KVAULT_TRY(const std::uint64_t size_bytes, file.size_bytes());
  if (size_bytes > kFileSizeMaxBytes) return fail(Errc::corrupt, path.native());
  std::vector<std::byte> bytes(size_bytes);
  KVAULT_CHECK(file.pread_all(0, bytes));
  if (bytes.size() < sizeof(Head)) return fail(Errc::truncated, path.native());
  const std::span<const std::byte> data = std::span(bytes).subspan(sizeof(Head));
  const Head wanted = head_of(driver_uuid, data);
  if (std::memcmp(bytes.data(), &wanted, sizeof(Head)) != 0) {
    return fail(Errc::corrupt, path.native());
  }
  return std::vector<std::byte>(data.begin(), data.end());
}

}  // namespace

std::vector<std::byte> read_pipeline_file(const std::filesystem::path& path,
                                          std::span<const std::uint8_t> driver_uuid) {
  if (path.empty()) return {};
  Result<std::vector<std::byte>> data = read_data(path, driver_uuid);
  return data ? std::move(*data) : std::vector<std::byte>();
}

Result<> write_pipeline_file(const std::filesystem::path& path,
                             std::span<const std::uint8_t> driver_uuid,
                             std::span<const std::byte> data) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  const std::filesystem::path fresh = path.native() + ".new";
  const Head head = head_of(driver_uuid, data);
  (void)remove_file(fresh);
  {
    KVAULT_TRY(File file, File::create(fresh));
    KVAULT_CHECK(file.pwrite_all(0, std::as_bytes(std::span(&head, 1))));
    KVAULT_CHECK(file.pwrite_all(sizeof(Head), data));
  }
  return rename_file(fresh, path);
}

}  // namespace kvault::vulkan
