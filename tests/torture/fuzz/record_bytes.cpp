#include "tests/torture/fuzz/record_bytes.hpp"

#include <algorithm>

#include "tests/torture/fuzz/fuzz_target.hpp"

namespace kvault::torture {
namespace {

// docs/format.md, section 4
constexpr std::size_t kMetaBytesAt = 80;
constexpr std::size_t kChecksumAt = 120;

}  // namespace

std::vector<std::byte> record_bytes(RecordHeader header, std::span<const std::byte> meta,
                                    std::span<const std::byte> payload) {
  place_payload(header, meta.size(), payload.size());
  std::vector<std::byte> record = serialise_head(header, meta);
  record.resize(header.length_bytes);
  std::copy(payload.begin(), payload.end(),
            record.begin() + static_cast<std::ptrdiff_t>(header.payload_offset));
  return record;
}

RecordHeader header_of(const Upload& upload) {
  RecordHeader header{.kind = upload.draft.kind, .transaction = 9};
  header.commit_number = 1;
  header.first_token = upload.draft.first_token;
  header.n_token = upload.draft.n_token;
  header.n_chunk = static_cast<std::uint32_t>(upload.draft.meta.chunks.size());
  return header;
}

void mend_head(std::span<std::byte> record) {
  std::uint64_t meta_bytes = 0;
  if (!peek(record, kMetaBytesAt, meta_bytes)) return;
  if (record.size() < kRecordHeaderSize || meta_bytes > record.size() - kRecordHeaderSize) return;
  poke(record, kChecksumAt, std::uint64_t{0});
  poke(record, kChecksumAt, payload_checksum(record.first(kRecordHeaderSize + meta_bytes)));
}

}  // namespace kvault::torture
