#include "tests/torture/model/served.hpp"

#include "core/format/sealed_record.hpp"
#include "core/os/file.hpp"

namespace kvault::torture {

Result<ReadRecord> read_served(const ServedRecord& record, const std::optional<SessionKey>& key) {
  KVAULT_TRY(const File file, File::open_read_only(record.pack_path));
  KVAULT_TRY(const std::uint64_t size_bytes, file.size_bytes());
  if (record.offset_bytes > size_bytes || record.length_bytes > size_bytes - record.offset_bytes) {
    return fail(Errc::truncated, message(record.pack_path.native(), " ends before the record"));
  }
  std::vector<std::byte> bytes(record.length_bytes);
  KVAULT_CHECK(file.pread_all(record.offset_bytes, bytes));
  ReadRecord read;
  std::optional<OneKey> keys;
  if (key) keys.emplace(*key);
  KVAULT_TRY(read.header, verify_record(bytes, keys ? &*keys : nullptr));
  const RecordHeader& header = read.header;
  // The session in the header is the one it was first written for; others may share it.
  if (header.checksum != record.checksum || header.kind != record.kind ||
      header.first_token != record.first_token || header.length_bytes != record.length_bytes ||
      header.n_token < record.n_token) {
    return fail(Errc::corrupt, message("the record at ", record.offset_bytes, " of ",
                                       record.pack_path.native(), " is not the one announced"));
  }
  if (keys) {
    KVAULT_TRY(bytes, unseal_record(bytes, *keys));
    KVAULT_TRY(read.header, verify_record(bytes));
  }
  KVAULT_TRY(read.meta, parse_payload_meta(header, bytes));
  read.payload_checksum =
      payload_checksum(std::span(bytes).subspan(header.payload_offset, header.payload_bytes));
  return read;
}

}  // namespace kvault::torture
