#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace kvault::torture {

enum class EventKind : std::uint8_t {
  create,          ///< `path` now names the new file `file`
  write,           ///< `bytes` at `offset` of `file`
  truncate,        ///< `file` has `offset` bytes
  sync,            ///< all of `file` is on the medium
  sync_failed,     ///< the system gave up on what `file` had not on the medium
  sync_directory,  ///< all entries of `path` are on the medium
  make_directory,
  rename,  ///< `path` to `path_to`
  unlink,
  mark,  ///< the program says where it is: `offset` is its number
};

/// One change of a directory tree, in the order in which the process asked for them. Paths are
/// relative to the tree; the tree itself is "".
struct Event {
  EventKind kind = EventKind::mark;
  int file = -1;
  std::uint64_t offset = 0;
  std::string path{};
  std::string path_to{};
  std::vector<std::byte> bytes{};
};

using Journal = std::vector<Event>;

}  // namespace kvault::torture
