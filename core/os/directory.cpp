#include "core/os/directory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "core/os/system_error.hpp"

namespace kvault {

Result<> sync_directory(const std::filesystem::path& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return fail_file("open", directory, errno);
  const int rc = ::fsync(descriptor);
  const int error_number = errno;
  ::close(descriptor);
  if (rc != 0) return fail_file("sync", directory, error_number);
  return {};
}

Result<std::vector<std::string>> list_files(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(directory, error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    if (entry->symlink_status(error).type() == std::filesystem::file_type::regular) {
      names.push_back(entry->path().filename().native());
    }
    if (!error) entry.increment(error);
  }
  if (error) return fail_file("list", directory, error.value());
  std::sort(names.begin(), names.end());
  return names;
}

Result<> remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0) {
    return fail_file("remove", path, errno);
  }
  return {};
}

Result<> rename_file(const std::filesystem::path& source, const std::filesystem::path& target) {
  if (::rename(source.c_str(), target.c_str()) != 0) {
    return fail_file(message("rename to ", target.native()), source, errno);
  }
  return {};
}

Result<> rename_to_free_name(const std::filesystem::path& source,
                             const std::filesystem::path& target) {
  const std::string action = message("rename to ", target.native());
  if (::renameat2(AT_FDCWD, source.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0) {
    return {};
  }
  if (errno != EINVAL && errno != ENOSYS) return fail_file(action, source, errno);
  // The file system cannot: a second name fails where the first would replace.
  if (::link(source.c_str(), target.c_str()) == 0) return remove_file(source);
  if (errno != EPERM && errno != EOPNOTSUPP) return fail_file(action, source, errno);
  // Nor that (FAT): all that is left is to look first.
  if (::access(target.c_str(), F_OK) == 0) return fail_file(action, source, EEXIST);
  return rename_file(source, target);
}

}  // namespace kvault
