#include "daemon/pack.hpp"

#include <sodium.h>

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/os/directory.hpp"
#include "core/os/lock.hpp"
#include "core/os/write_back.hpp"

namespace kvault {
namespace {

Result<PackSet::Entry> inspect(const std::filesystem::path& path, PackName name) {
  KVAULT_TRY(const File file, File::open_read_only(path));
  PackSet::Entry entry;
  KVAULT_TRY(entry.size_bytes, file.size_bytes());
  std::vector<std::byte> bytes(std::min(entry.size_bytes, kPackHeaderSize));
  KVAULT_CHECK(file.pread_all(0, bytes));
  const Result<PackHeader> header = parse_pack_header(bytes);
  if (header && header->name == name) {
    entry.pack_id = header->pack_id;
    entry.epoch = header->epoch;
  }
  if (!header && header.error().code == Errc::unknown_format) {
    return fail(Errc::unknown_format, message(path.native(), ": ", header.error().message));
  }
  return entry;
}

}  // namespace

Result<PackSet> PackSet::open(Options options) {
  PackSet set(std::move(options));
  KVAULT_TRY(const std::vector<std::string> files, list_files(set.options_.directory));
  for (const std::string& file : files) {
    const Result<PackName> name = pack_name_from(file);
    if (!name) continue;
    KVAULT_TRY(const Entry entry, inspect(set.options_.directory / file, *name));
    set.entries_[*name] = entry;
    if (!entry.pack_id && entry.size_bytes <= kPackHeaderSize) KVAULT_CHECK(set.remove(*name));
  }
  return set;
}

Result<> PackSet::step(StoreStep step, PackName pack) const {
  if (options_.on_step) return options_.on_step(step, path_of(pack));
  return {};
}

std::filesystem::path PackSet::path_of(PackName pack) const {
  return options_.directory / file_name_of(pack);
}

Result<PackName> PackSet::create_pack(PackKind kind) {
  PackHeader header{.name = {kind, 1}, .pack_id = 0, .epoch = epoch_};
  for (const auto& [name, entry] : entries_) {
    if (name.kind == kind) header.name.number = std::max(header.name.number, name.number + 1);
  }
  randombytes_buf(&header.pack_id, sizeof header.pack_id);
  KVAULT_CHECK(step(StoreStep::create_pack, header.name));
  KVAULT_TRY(File file, File::create(path_of(header.name)));
  // From here on the name is taken, whatever happens next.
  entries_[header.name] = {
      .pack_id = header.pack_id, .epoch = epoch_, .size_bytes = kPackHeaderSize};
  Writer& writer = writers_[header.name];
  writer.file = std::move(file);
  Result<> done = writer.file.pwrite_all(0, serialise_pack_header(header));
  if (done) done = writer.file.sync();
  if (done) done = sync_directory(options_.directory);
  if (!done) {
    give_up(header.name);
    close_if_unused(header.name);
    return tl::unexpected<Error>(std::move(done).error());
  }
  writer.is_current = true;
  current_[static_cast<std::size_t>(kind)] = header.name;
  return header.name;
}

Result<PackRoom> PackSet::reserve(PackKind kind, std::uint64_t length_bytes) {
  KVAULT_ASSERT(length_bytes % kRecordAlignment == 0 && length_bytes > 0);
  std::optional<PackName>& current = current_[static_cast<std::size_t>(kind)];
  if (current) {
    const std::uint64_t used = entries_[*current].size_bytes;
    const bool is_fresh = used == kPackHeaderSize;
    if (!is_fresh && used + length_bytes > options_.pack_size_bytes_max) {
      const PackName full = *current;
      writers_[full].is_current = false;
      current.reset();
      close_if_unused(full);
    }
  }
  if (!current) KVAULT_CHECK(create_pack(kind));
  Entry& entry = entries_[*current];
  const PackRoom room{*current, *entry.pack_id, entry.size_bytes};
  entry.size_bytes += length_bytes;
  ++writers_[*current].n_reserved;
  return room;
}

void PackSet::release(const PackRoom& room) {
  const auto writer = writers_.find(room.pack);
  KVAULT_ASSERT(writer != writers_.end() && writer->second.n_reserved > 0);
  --writer->second.n_reserved;
  close_if_unused(room.pack);
}

void PackSet::close_if_unused(PackName pack) {
  const auto writer = writers_.find(pack);
  if (writer == writers_.end()) return;
  // Not a moment earlier: a failed write-back is only told to descriptors that were open then.
  if (!writer->second.is_current && writer->second.n_reserved == 0) writers_.erase(writer);
}

void PackSet::give_up(PackName pack) {
  Writer& writer = writers_[pack];
  writer.is_given_up = true;
  writer.is_current = false;
  std::optional<PackName>& current = current_[static_cast<std::size_t>(pack.kind)];
  if (current == pack) current.reset();
}

Result<PackSet::Writer*> PackSet::writer_of(PackName pack) {
  const auto writer = writers_.find(pack);
  KVAULT_ASSERT(writer != writers_.end());
  if (writer->second.is_given_up) {
    return fail(Errc::io, message(path_of(pack).native(), " was given up after an earlier error"));
  }
  return &writer->second;
}

Result<> PackSet::write(PackName pack, std::uint64_t offset_bytes, std::span<const std::byte> bytes,
                        StoreStep write_step) {
  KVAULT_TRY(Writer * writer, writer_of(pack));
  Result<> done = step(write_step, pack);
  if (done) done = writer->file.pwrite_all(offset_bytes, bytes);
  if (!done) give_up(pack);
  // The medium works while the rest of the record is still on its way here.
  if (done && write_step == StoreStep::write_payload) {
    start_write_back(writer->file, offset_bytes, bytes.size());
  }
  return done;
}

Result<> PackSet::sync(PackName pack, StoreStep sync_step) {
  KVAULT_TRY(Writer * writer, writer_of(pack));
  Result<> done = step(sync_step, pack);
  if (done) done = writer->file.sync();
  if (!done) give_up(pack);
  return done;
}

Result<> PackSet::read(PackName pack, std::uint64_t offset_bytes,
                       std::span<std::byte> target) const {
  KVAULT_TRY(const File file, File::open_read_only(path_of(pack)));
  return file.pread_all(offset_bytes, target);
}

Result<RecordHeader> PackSet::read_head(PackName pack, std::uint64_t offset_bytes,
                                        std::vector<std::byte>& head) const {
  head.resize(kRecordHeaderSize);
  KVAULT_CHECK(read(pack, offset_bytes, head));
  KVAULT_TRY(const RecordHeader header, parse_header(head));
  const auto entry = entries_.find(pack);
  const std::uint64_t size_bytes = entry == entries_.end() ? 0 : entry->second.size_bytes;
  if (header.length_bytes > size_bytes || offset_bytes > size_bytes - header.length_bytes) {
    return fail(Errc::truncated, message(path_of(pack).native(), " of ", size_bytes,
                                         " bytes ends inside the record of ", header.length_bytes,
                                         " bytes at ", offset_bytes));
  }
  head.resize(header.head_bytes());
  KVAULT_CHECK(read(pack, offset_bytes, head));
  KVAULT_CHECK(parse_head(head));
  if (entry->second.pack_id && *entry->second.pack_id != header.pack_id) {
    return fail(Errc::corrupt, message("the record at ", offset_bytes, " of ",
                                       path_of(pack).native(), " was written to another pack"));
  }
  return header;
}

Result<> PackSet::check_header(PackName pack) const {
  std::vector<std::byte> bytes(kPackHeaderSize);
  KVAULT_CHECK(read(pack, 0, bytes));
  KVAULT_TRY(const PackHeader header, parse_pack_header(bytes));
  const auto entry = entries_.find(pack);
  if (header.name == pack && entry != entries_.end() && entry->second.pack_id == header.pack_id) {
    return {};
  }
  return fail(Errc::corrupt, message("its header is that of ", file_name_of(header.name)));
}

std::uint64_t PackSet::total_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [name, entry] : entries_) bytes += entry.size_bytes;
  return bytes;
}

std::uint64_t PackSet::epoch_max() const {
  std::uint64_t epoch = 0;
  for (const auto& [name, entry] : entries_) epoch = std::max(epoch, entry.epoch);
  return epoch;
}

Result<> PackSet::sync_all() const {
  for (const auto& [name, entry] : entries_) {
    KVAULT_TRY(File file, File::open(path_of(name)));
    KVAULT_CHECK(file.sync());
  }
  return sync_directory(options_.directory);
}

bool PackSet::leave_current() {
  bool is_left = false;
  for (std::optional<PackName>& current : current_) {
    if (!current || writers_[*current].n_reserved > 0) continue;
    writers_.erase(*current);
    current.reset();
    is_left = true;
  }
  return is_left;
}

Result<bool> PackSet::remove(PackName pack) {
  KVAULT_ASSERT(is_idle(pack));
  KVAULT_TRY(const bool is_removed, remove_if_unlocked(path_of(pack)));
  if (!is_removed) return false;
  KVAULT_CHECK(sync_directory(options_.directory));
  entries_.erase(pack);
  return true;
}

}  // namespace kvault
