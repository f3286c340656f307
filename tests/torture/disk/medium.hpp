#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "tests/torture/disk/journal.hpp"

namespace kvault::torture {

/// A directory tree: what a disk holds at some moment.
struct Image {
  std::set<std::string> directories;
  std::map<std::string, std::vector<std::byte>> files;

  std::uint64_t digest() const;
  /// Empties `directory` and puts the tree there.
  Result<> write_to(const std::filesystem::path& directory) const;
};

/// Which of the changes that were not synced reached the disk.
struct Choice {
  std::vector<bool> keep{};  ///< by index of Medium::pending()
  /// Of this kept write only bytes [torn_begin, torn_end) arrived.
  std::optional<std::size_t> torn{};
  std::uint64_t torn_begin = 0;
  std::uint64_t torn_end = 0;
  /// Files have the sizes that lost writes would have given them; zeros stand there.
  bool grows_with_zeros = false;
};

/// A disk below a page cache: knows of every change whether it was synced. Fed with a journal.
///
/// What a power failure leaves is what was synced plus any part of the rest, in any order: POSIX
/// promises no more. What a killed process leaves is all of it.
class Medium {
 public:
  Medium() = default;
  /// All of it is on the disk.
  explicit Medium(const Image& image);

  void apply(const Event& event);

  /// Changes not synced, oldest first.
  struct Pending {
    Event event;
    bool is_doomed = false;  ///< a sync of it failed: in the cache, never on the disk
    bool is_of_directory() const {
      return event.kind != EventKind::write && event.kind != EventKind::truncate;
    }
  };
  const std::vector<Pending>& pending() const { return pending_; }

  Image image(const Choice& choice) const;
  Image killed() const;      ///< everything arrived
  Image lost_power() const;  ///< nothing did that was not synced
  /// For FileTap::start(): the files as the process sees them, and the first free id.
  std::map<std::string, int> names() const;
  int next_file() const { return next_file_; }

 private:
  using Bytes = std::vector<std::byte>;
  void sync_file(int file);
  void sync_directory(const std::string& directory);
  static Image tree(const std::map<std::string, int>& names, const std::map<int, Bytes>& files);
  static void change_names(std::map<std::string, int>& names, const Event& event);
  static void change_bytes(Bytes& bytes, const Event& event, std::uint64_t begin,
                           std::uint64_t end);

  std::map<int, Bytes> files_;        ///< as synced
  std::map<int, Bytes> cached_;       ///< as a process reads them
  std::map<std::string, int> names_;  ///< as synced; directories are kDirectory
  std::vector<Pending> pending_;
  int next_file_ = 0;
};

}  // namespace kvault::torture
