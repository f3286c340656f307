#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

namespace kvault::test {

/// Mounts that this process and its children alone see, so that disks can be small or read-only
/// without harm to anybody. Needs root, or a kernel that lets users have namespaces.
class PrivateMounts {
 public:
  /// Empty where it went well, else why not. pre: the process has one thread
  static std::string enter() {
    const uid_t user = ::geteuid();
    const gid_t group = ::getegid();
    if (::unshare(CLONE_NEWNS) != 0) {
      if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return failed("unshare");
      const std::string one = " 1\n";
      if (!write("/proc/self/setgroups", "deny") ||
          !write("/proc/self/uid_map", "0 " + std::to_string(user) + one) ||
          !write("/proc/self/gid_map", "0 " + std::to_string(group) + one)) {
        return failed("the map of users");
      }
    }
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return failed("mount /");
    return {};
  }

  /// An empty disk of `size_bytes` at `directory`.
  static std::string mount_small_disk(const std::filesystem::path& directory,
                                      std::uint64_t size_bytes) {
    const std::string options = "mode=0700,size=" + std::to_string(size_bytes);
    if (::mount("tmpfs", directory.c_str(), "tmpfs", 0, options.c_str()) != 0) {
      return failed("mount tmpfs");
    }
    return {};
  }

  /// What lies in `directory` cannot be changed from now on.
  static std::string mount_read_only(const std::filesystem::path& directory) {
    const char* const path = directory.c_str();
    if (::mount(path, path, nullptr, MS_BIND, nullptr) != 0 ||
        ::mount(nullptr, path, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
      return failed("mount read-only");
    }
    return {};
  }

  static void unmount(const std::filesystem::path& directory) {
    ::umount2(directory.c_str(), MNT_DETACH);
  }

 private:
  static std::string failed(const char* what) {
    return std::string(what) + ": " + std::strerror(errno);
  }
  static bool write(const char* path, const std::string& text) {
    const int file = ::open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return errno == ENOENT;  // setgroups: an old kernel
    const bool is_written = ::write(file, text.data(), text.size()) >= 0;
    ::close(file);
    return is_written;
  }
};

}  // namespace kvault::test
