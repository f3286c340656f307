#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "core/format/record_check.hpp"
#include "core/format/row_packing.hpp"

namespace kvault {

struct OutgoingRecord {
  RecordDraft draft;
  std::vector<std::vector<std::byte>> chunks;

  /// The chunks as client::RecordUpload wants them; borrows.
  std::vector<std::span<const std::byte>> pieces() const { return {chunks.begin(), chunks.end()}; }
};

/// Makes one record after the other from the bytes of their chunks. Packing takes most of a save:
/// where there is much of it a second thread takes chunks as well, while the caller reads the next.
class RecordMaker {
 public:
  /// element_bytes: of a row. packs: rows are packed (where that makes them less).
  RecordMaker(std::size_t element_bytes, bool packs)
      : element_bytes_(element_bytes), packs_(packs) {}
  RecordMaker(const RecordMaker&) = delete;
  RecordMaker& operator=(const RecordMaker&) = delete;
  ~RecordMaker();

  /// A chunk that stays as it is. Its size and checksum are filled in.
  void add(Chunk chunk, std::vector<std::byte> bytes) {
    add(std::move(chunk), std::move(bytes), 0);
  }
  /// Raw rows, packed where that makes them at most packed_bytes_max. Throws std::bad_alloc.
  void add_rows(Chunk chunk, std::vector<std::byte> bytes, std::size_t packed_bytes_max) {
    add(std::move(chunk), std::move(bytes), packs_ ? packed_bytes_max : 0);
  }
  /// Memory of rows that were packed, for the next ones; it holds anything.
  std::vector<std::byte> spare();
  /// What was added, in that order, placed behind one another. Throws std::bad_alloc.
  OutgoingRecord finish(RecordDraft draft);

 private:
  enum class State : std::uint8_t { waiting, taken, done };
  struct Slot {
    Chunk chunk;
    std::vector<std::byte> bytes;
    std::size_t packed_bytes_max;
    State state = State::waiting;
  };

  void add(Chunk chunk, std::vector<std::byte> bytes, std::size_t packed_bytes_max);
  void start_thread(std::size_t more_bytes);
  void work();
  bool settle_next(RowPacker& packer, std::unique_lock<std::mutex>& lock);
  void settle(Slot& slot, RowPacker& packer);

  std::size_t element_bytes_;
  bool packs_;
  RowPacker packer_;                  ///< the caller's
  std::uint64_t n_packed_bytes_ = 0;  ///< bytes so far that are to be packed
  std::mutex mutex_;                  ///< over all that follows
  std::condition_variable changed_;
  std::deque<Slot> slots_;
  std::size_t next_ = 0;  ///< no slot before it waits
  std::vector<std::vector<std::byte>> spare_;
  bool is_ending_ = false;
  std::thread thread_;
};

}  // namespace kvault
