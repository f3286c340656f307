#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/pack_header.hpp"
#include "core/format/session_key.hpp"
#include "core/os/file.hpp"
#include "daemon/store.hpp"

namespace kvault {

/// Room for one record in a pack. Whoever reserved it calls release() when done with it.
struct PackRoom {
  PackName pack;
  std::uint64_t pack_id = 0;
  std::uint64_t offset_bytes = 0;
};

/// The packs of one directory. Packs that were there before are only read; the first reservation of
/// a kind begins a new one. A pack that a write or sync failed on is given up: it is read but never
/// written again, and reservations go to a new one. One thread at a time.
class PackSet {
 public:
  struct Options {
    std::filesystem::path directory;
    std::uint64_t pack_size_bytes_max = 0;
    std::function<Result<>(StoreStep, const std::filesystem::path&)> on_step;
    std::shared_ptr<KeyFinder> keys{};  ///< of sealed records; null in a store without them
  };
  struct Entry {
    std::optional<std::uint64_t> pack_id;  ///< empty: the header is damaged
    std::uint64_t epoch = 0;
    std::uint64_t size_bytes = 0;  ///< of the file; of what is reserved in a new one
  };

  /// Finds the packs. Files that ended before their header was complete never held a record and are
  /// removed.
  static Result<PackSet> open(Options options);

  /// What new packs' headers say. pre: no pack was begun.
  void set_epoch(std::uint64_t epoch) { epoch_ = epoch; }
  /// The newest epoch of a pack that was there; 0 where there is none.
  std::uint64_t epoch_max() const;

  /// Errors are those of making a pack.
  Result<PackRoom> reserve(PackKind kind, std::uint64_t length_bytes);
  void release(const PackRoom& room);
  /// pre: inside a reservation. On failure the pack is given up.
  Result<> write(PackName pack, std::uint64_t offset_bytes, std::span<const std::byte> bytes,
                 StoreStep step);
  /// Returns when everything written to the pack is on the medium. On failure it is given up.
  Result<> sync(PackName pack, StoreStep step);

  /// Fills `target`. Errc::not_found for a pack that is not there, truncated past its end.
  Result<> read(PackName pack, std::uint64_t offset_bytes, std::span<std::byte> target) const;
  /// Header and meta of the record at an offset, checked, with room for `head` to be parsed on.
  Result<RecordHeader> read_head(PackName pack, std::uint64_t offset_bytes,
                                 std::vector<std::byte>& head) const;

  /// Whether the pack's header is on the disk as it should be.
  Result<> check_header(PackName pack) const;

  /// For whoever parses what was read.
  KeyFinder* keys() const { return options_.keys.get(); }

  const std::map<PackName, Entry>& entries() const { return entries_; }
  std::uint64_t total_bytes() const;
  std::filesystem::path path_of(PackName pack) const;
  /// Returns when all packs are on the medium, whoever wrote them. pre: no pack was begun.
  Result<> sync_all() const;
  /// Whether nobody writes to a pack, or will.
  bool is_idle(PackName pack) const { return !writers_.contains(pack); }
  /// Lets the next reservation of each kind begin a new pack; packs with reservations stay. False
  /// where no pack was left.
  bool leave_current();
  /// Removes a pack's file, durably; false where a reader has locked it. pre: is_idle()
  Result<bool> remove(PackName pack);

 private:
  struct Writer {
    File file;
    std::uint64_t n_reserved = 0;
    bool is_current = false;
    bool is_given_up = false;
  };
  explicit PackSet(Options options) : options_(std::move(options)) {}

  Result<> step(StoreStep step, PackName pack) const;
  Result<PackName> create_pack(PackKind kind);
  Result<Writer*> writer_of(PackName pack);
  void give_up(PackName pack);
  void close_if_unused(PackName pack);

  Options options_;
  std::uint64_t epoch_ = 0;
  std::map<PackName, Entry> entries_;
  std::map<PackName, Writer> writers_;
  std::array<std::optional<PackName>, 2> current_;  ///< by PackKind
};

}  // namespace kvault
