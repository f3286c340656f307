#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>

#include "tests/torture/disk/journal.hpp"

namespace kvault::torture {

/// System calls that the tap can make fail.
enum class Call : std::uint8_t { open, read, write, sync, truncate, rename, unlink, mkdir, mmap };

/// The n-th call of a kind fails, and the ones after it as long as `n_failing` lasts.
struct Fault {
  Call call = Call::write;
  std::uint64_t at = 1;
  std::uint64_t n_failing = 1;
  int error_number = 0;
  bool is_short_write = false;  ///< half is written and no error told; then error_number
};

/// Listens to the file calls that this process makes below one directory, whoever makes them: the
/// packs' code and SQLite alike. The functions of libc are replaced in file_tap_libc.cpp, for the
/// whole executable, which is why there is one tap and one only. What SQLite maps (-shm) is no
/// durable state and left out. One thread at a time while it listens.
class FileTap {
 public:
  static FileTap& instance();

  /// `files`: what is there already, by path, as ids below `next_file`.
  void start(const std::filesystem::path& directory, std::map<std::string, int> files = {},
             int next_file = 0);
  Journal stop();
  bool is_listening() const { return is_listening_; }
  const Journal& journal() const { return journal_; }
  void mark(std::uint64_t number);

  void set_fault(std::optional<Fault> fault);
  bool was_hit() const { return n_hit_ > 0; }

  /// For the replaced functions: the fault that this call meets, as errno; 0 for none.
  int fault_of(Call call, const std::string& path);
  /// Whether this write is to be cut in half.
  bool is_short_now() const { return fault_ && fault_->is_short_write && is_cutting_; }
  std::optional<std::string> relative(const char* path) const;
  std::optional<std::string> path_of(int descriptor) const;
  bool knows(const std::string& path) const { return files_.contains(path); }

  void opened(int descriptor, const std::string& path, bool is_new, bool is_directory);
  void closed(int descriptor);
  void written(int descriptor, std::uint64_t offset, const void* data, std::size_t size);
  void truncated(int descriptor, std::uint64_t size);
  void synced(int descriptor, bool is_done);
  void renamed(const std::string& from, const std::string& to);
  void unlinked(const std::string& path);
  void directory_made(const std::string& path);

 private:
  struct Handle {
    int file = -1;  ///< -1: a directory
    std::string path;
  };
  bool is_listening_ = false;
  std::string prefix_;
  Journal journal_;
  std::map<std::string, int> files_;
  int next_file_ = 0;
  std::map<int, Handle> handles_;
  std::optional<Fault> fault_;
  std::uint64_t n_call_ = 0;
  std::uint64_t n_hit_ = 0;
  bool is_cutting_ = false;
};

}  // namespace kvault::torture
