#include <algorithm>
#include <numeric>

#include "core/format/record.hpp"
#include "tests/torture/fuzz/fuzz_target.hpp"
#include "tests/torture/fuzz/record_bytes.hpp"

namespace kvault::torture {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t kChunkEntryBytes = 32;  // docs/format.md, section 4

Bytes record_of(const Upload& upload) {
  return record_bytes(header_of(upload), serialise_payload_meta(upload.draft.meta), upload.payload);
}

Bytes commit_record() {
  CommitMeta meta;
  meta.n_token = 130;
  meta.n_page = 1;
  meta.description = small_session("seed", false);
  meta.records = {{.kind = RecordKind::page,
                   .pack_kind = PackKind::pages,
                   .pack_number = 1,
                   .offset_bytes = 4096,
                   .length_bytes = 12288,
                   .n_token = 128},
                  {.kind = RecordKind::tail,
                   .pack_kind = PackKind::log,
                   .pack_number = 2,
                   .offset_bytes = 8192,
                   .length_bytes = 8192,
                   .first_token = 128,
                   .n_token = 2}};
  return record_bytes({.kind = RecordKind::commit, .transaction = 9},
                      serialise_commit_meta(meta).value(), {});
}

std::vector<Bytes> record_seeds() {
  const ModelShape shape = small_session("seed", true).shape;
  std::vector<std::uint32_t> tokens(128);
  std::iota(tokens.begin(), tokens.end(), 1000U);
  return {record_of(page_upload(shape, 0, tokens, 1)),
          record_of(page_upload(shape, 3, tokens, 2)),
          record_of(tail_upload(shape, 128, std::span(tokens).first(3), 3)),
          record_of(snapshot_upload(shape, 128, 4)),
          commit_record(),
          record_bytes({.kind = RecordKind::tombstone, .transaction = 9}, {}, {})};
}

/// What a reader does with a record, in its order.
void run_record(std::span<const std::byte> bytes) {
  const Result<RecordHeader> fields = parse_header(bytes);
  const Result<RecordHeader> head = parse_head(bytes);
  if (head) must(fields && *fields == *head, "parse_head accepts what parse_header refuses");
  if (head) {
    const bool is_commit = head->kind == RecordKind::commit;
    if (is_commit) {
      if (const Result<CommitMeta> meta = parse_commit_meta(*head, bytes)) {
        const Result<Bytes> again = serialise_commit_meta(*meta);
        must(again.has_value(), "a parsed commit cannot be written");
      }
    } else if (head->kind != RecordKind::tombstone) {
      if (const Result<PayloadMeta> meta = parse_payload_meta(*head, bytes)) {
        const Bytes again = serialise_payload_meta(*meta);
        must(again.size() == head->meta_bytes, "a meta has another size when it is written again");
      }
    }
  }
  const Result<RecordHeader> verified = verify_record(bytes);
  if (verified) must(head && *head == *verified, "verify_record accepts what parse_head refuses");
}

/// Checksums of the chunks, then of the head.
void mend_record(std::vector<std::byte>& bytes) {
  const std::span<std::byte> record(bytes);
  const Result<RecordHeader> header = parse_header(record);
  if (header && header->head_bytes() <= record.size()) {
    const bool has_tokens = header->kind == RecordKind::page || header->kind == RecordKind::tail;
    std::size_t at = kRecordHeaderSize + (has_tokens ? 4 * std::size_t{header->n_token} : 0);
    for (std::uint32_t i = 0; i < std::min(header->n_chunk, 64U); ++i, at += kChunkEntryBytes) {
      std::uint64_t offset = 0;
      std::uint64_t size = 0;
      if (!peek(record, at + 8, offset) || !peek(record, at + 16, size)) break;
      const std::uint64_t begin = header->payload_offset + offset;
      if (offset > record.size() || begin > record.size() || size > record.size() - begin) continue;
      poke(record, at + 24, payload_checksum(record.subspan(begin, size)));
    }
  }
  mend_head(record);
}

}  // namespace

FuzzTarget record_target() {
  return {.name = "record", .seeds = record_seeds, .run = run_record, .mend = mend_record};
}

}  // namespace kvault::torture
