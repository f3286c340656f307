#include "daemon/wal_check.hpp"

#include <bit>
#include <span>
#include <vector>

#include "core/os/file.hpp"

namespace kvault {
namespace {

constexpr std::size_t kHeaderSize = 32;
constexpr std::size_t kFrameHeaderSize = 24;
/// The lowest bit says whether checksums read words as big-endian.
constexpr std::uint32_t kMagic = 0x377F0682U;

using Bytes = std::span<const std::byte>;

std::uint32_t big_endian(Bytes bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    value = (value << 8U) | std::to_integer<std::uint32_t>(bytes[at + i]);
  }
  return value;
}

/// SQLite's running checksum over words, two at a time.
class Checksum {
 public:
  explicit Checksum(bool is_big_endian) : is_big_endian_(is_big_endian) {}
  /// Goes on from the checksum that a frame states.
  Checksum after(Bytes frame) const {
    Checksum next(is_big_endian_);
    next.first_ = big_endian(frame, 16);
    next.second_ = big_endian(frame, 20);
    return next;
  }

  void add(Bytes bytes) {
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      first_ += word(bytes, at) + second_;
      second_ += word(bytes, at + 4) + first_;
    }
  }
  bool equals(Bytes bytes, std::size_t at) const {
    return big_endian(bytes, at) == first_ && big_endian(bytes, at + 4) == second_;
  }

 private:
  std::uint32_t word(Bytes bytes, std::size_t at) const {
    const std::uint32_t value = big_endian(bytes, at);
    if (is_big_endian_) return value;
    return value >> 24U | (value >> 8U & 0xFF00U) | (value << 8U & 0xFF0000U) | value << 24U;
  }
  bool is_big_endian_;
  std::uint32_t first_ = 0;
  std::uint32_t second_ = 0;
};

/// A frame of this log and not of the one that the file held before. One equal word of the salt is
/// enough: the second is random, so the other one is damaged.
bool has_salt(Bytes frame, Bytes header) {
  return big_endian(frame, 8) == big_endian(header, 16) ||
         big_endian(frame, 12) == big_endian(header, 20);
}

Result<std::vector<std::byte>> read_all(const std::filesystem::path& path) {
  Result<File> file = File::open_read_only(path);
  if (!file && file.error().code == Errc::not_found) return std::vector<std::byte>();
  if (!file) return tl::unexpected<Error>(std::move(file).error());
  KVAULT_TRY(const std::uint64_t size_bytes, file->size_bytes());
  std::vector<std::byte> bytes(size_bytes);
  KVAULT_CHECK(file->pread_all(0, bytes));
  return bytes;
}

bool equals(Bytes a, Bytes b, std::size_t at_a, std::size_t at_b) {
  return big_endian(a, at_a) == big_endian(b, at_b);
}

/// Whether a frame's checksum goes on from `before`.
bool follows(Bytes frame, Checksum before) {
  before.add(frame.first(8));
  before.add(frame.subspan(kFrameHeaderSize));
  return before.equals(frame, 16);
}

Result<> check_frames(Bytes wal, std::size_t page_bytes, Checksum checksum) {
  const Bytes header = wal.first(kHeaderSize);
  const std::size_t frame_bytes = kFrameHeaderSize + page_bytes;
  bool is_sound = true;
  Bytes ended;  // the frame before, where it is not sound and ends a transaction
  for (std::size_t at = kHeaderSize; at + frame_bytes <= wal.size(); at += frame_bytes) {
    const Bytes frame = wal.subspan(at, frame_bytes);
    if (is_sound) {
      checksum.add(frame.first(8));
      checksum.add(frame.subspan(kFrameHeaderSize));
      is_sound = equals(frame, header, 8, 16) && equals(frame, header, 12, 20) &&
                 checksum.equals(frame, 16);
    }
    if (is_sound || !has_salt(frame, header)) continue;
    // What a transaction that was cut short has left behind a newer one does not follow it. The
    // frame before may be wrong in what it holds, or in the checksum that it states.
    if (!ended.empty() && (follows(frame, checksum.after(ended)) || follows(frame, checksum))) {
      return fail(Errc::corrupt, message("catalog: its log is damaged before byte ", at));
    }
    ended = big_endian(frame, 4) != 0 ? frame : Bytes();
  }
  return {};
}

}  // namespace

Result<> check_wal(const std::filesystem::path& path) {
  KVAULT_TRY(const std::vector<std::byte> wal, read_all(path));
  return check_wal(wal);
}

Result<> check_wal(Bytes bytes) {
  if (bytes.size() <= kHeaderSize) return {};  // no frame: the header may still be on its way
  if ((big_endian(bytes, 0) & ~1U) != kMagic) {
    return fail(Errc::corrupt,
                message("catalog: its log of ", bytes.size(), " bytes has no header"));
  }
  Checksum checksum((big_endian(bytes, 0) & 1U) != 0);
  checksum.add(bytes.first(24));
  const std::size_t page_bytes = big_endian(bytes, 8);
  if (!checksum.equals(bytes, 24) || !std::has_single_bit(page_bytes) || page_bytes < 512 ||
      page_bytes > 65536) {
    return fail(Errc::corrupt, "catalog: the header of its log is damaged");
  }
  return check_frames(bytes, page_bytes, checksum);
}

}  // namespace kvault
