#include "core/format/record.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/format/pack_header.hpp"
#include "core/format/record_check.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault {
namespace {

ModelShape example_shape() {
  ModelShape shape;
  shape.layers = {
      {.kind = LayerKind::full_attention,
       .n_head = 4,
       .n_kv_head = 2,
       .key_head_dim = 32,
       .value_head_dim = 64,
       .key_scheme = Scheme::tq4,
       .value_scheme = Scheme::tq2},
      {.kind = LayerKind::none},
      {.kind = LayerKind::sliding_window,
       .n_head = 1,
       .n_kv_head = 1,
       .key_head_dim = 5,
       .value_head_dim = 3,
       .window = 64},
      {.kind = LayerKind::recurrent},
  };
  return shape;
}

BlockFormat tq4() { return BlockFormat::coded(Scheme::tq4, true); }
BlockFormat tq2() { return BlockFormat::coded(Scheme::tq2, false); }
BlockFormat f16() { return BlockFormat::raw(RowType::f16); }

/// Sizes and offsets as the shape wants them; payload bytes and checksums by seed.
std::vector<std::byte> complete(const ModelShape& shape, RecordDraft& draft, unsigned seed) {
  for (Chunk& chunk : draft.meta.chunks) {
    if (chunk.kind == ChunkKind::recurrent_state) continue;
    chunk.size_bytes = *chunk_size_bytes(shape, chunk, draft.n_token);
  }
  draft.payload_bytes = place_chunks(draft.meta.chunks);
  std::vector<std::byte> payload(draft.payload_bytes);
  std::mt19937 random(seed);
  for (Chunk& chunk : draft.meta.chunks) {
    const auto bytes = std::span(payload).subspan(chunk.offset_bytes, chunk.size_bytes);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    chunk.checksum = payload_checksum(bytes);
  }
  return payload;
}

RecordDraft page_draft(std::uint64_t page) {
  RecordDraft draft{.kind = RecordKind::page,
                    .first_token = page * kPageTokens,
                    .n_token = kPageTokens,
                    .meta = {},
                    .payload_bytes = 0};
  for (std::uint32_t i = 0; i < kPageTokens; ++i) draft.meta.token_ids.push_back(1000 + i);
  draft.meta.chunks.push_back(
      {.kind = ChunkKind::segment, .layer = 0, .formats = {tq4(), f16(), tq2(), tq2()}});
  draft.meta.chunks.push_back({.kind = ChunkKind::segment, .layer = 2, .formats = {f16(), f16()}});
  if (page == 0) draft.meta.chunks.push_back({.kind = ChunkKind::equaliser, .layer = 0});
  return draft;
}

RecordDraft tail_draft(std::uint64_t first_token, std::uint32_t n_token) {
  RecordDraft draft{.kind = RecordKind::tail,
                    .first_token = first_token,
                    .n_token = n_token,
                    .meta = {},
                    .payload_bytes = 0};
  draft.meta.token_ids.assign(n_token, 7);
  draft.meta.chunks = {{.kind = ChunkKind::rows, .layer = 0},
                       {.kind = ChunkKind::rows, .layer = 2}};
  if (first_token < 256) {
    draft.meta.chunks.push_back({.kind = ChunkKind::query_energy, .layer = 0});
  }
  return draft;
}

RecordDraft snapshot_draft(std::uint64_t position) {
  RecordDraft draft{.kind = RecordKind::snapshot, .first_token = position};
  draft.meta.chunks = {{.kind = ChunkKind::recurrent_state, .layer = 3, .size_bytes = 1001}};
  return draft;
}

/// The whole record, as a pack holds it.
std::vector<std::byte> record_of(const RecordDraft& draft, std::span<const std::byte> payload,
                                 RecordHeader& header) {
  const std::vector<std::byte> meta = serialise_payload_meta(draft.meta);
  CHECK(payload_meta_size_bytes(draft.meta) == meta.size());
  header.kind = draft.kind;
  header.first_token = draft.first_token;
  header.n_token = draft.n_token;
  header.n_chunk = static_cast<std::uint32_t>(draft.meta.chunks.size());
  header.transaction = 0x0102030405060708;
  header.commit_number = 42;
  header.pack_id = 77;
  header.session.bytes.fill(std::byte{0x5A});
  header.key.bytes.fill(std::byte{0xA1});
  header.parent_key.bytes.fill(std::byte{0xB2});
  place_payload(header, meta.size(), draft.payload_bytes);
  std::vector<std::byte> record = serialise_head(header, meta);
  record.resize(header.length_bytes);
  std::copy(payload.begin(), payload.end(),
            record.begin() + static_cast<std::ptrdiff_t>(header.payload_offset));
  return record;
}

TEST_CASE("short: record: pages, tails and snapshots survive bytes and back") {
  const ModelShape shape = example_shape();
  for (RecordDraft draft : {page_draft(0), page_draft(3), tail_draft(0, 1), tail_draft(300, 200),
                            snapshot_draft(0), snapshot_draft(999)}) {
    CAPTURE(name_of(draft.kind));
    const std::vector<std::byte> payload = complete(shape, draft, 1);
    const Result<> checked = check_draft(shape, draft);
    INFO((checked ? "" : checked.error().message));
    REQUIRE(checked);
    RecordHeader header;
    const std::vector<std::byte> record = record_of(draft, payload, header);
    CHECK(record.size() % kRecordAlignment == 0);
    CHECK(header.payload_offset % kChunkAlignment == 0);
    CHECK(header.payload_offset < header.head_bytes() + kChunkAlignment);
    CHECK(*parse_header(record) == header);
    CHECK(*parse_head(std::span(record).first(header.head_bytes())) == header);
    CHECK(*parse_payload_meta(header, record) == draft.meta);
    CHECK(*verify_record(record) == header);
  }
}

TEST_CASE("short: record: the header lies where docs/format.md says") {
  RecordDraft draft = tail_draft(256, 3);
  const std::vector<std::byte> payload = complete(example_shape(), draft, 1);
  RecordHeader header;
  const std::vector<std::byte> record = record_of(draft, payload, header);
  const auto at = [&](std::size_t offset, std::size_t size) {
    std::uint64_t value = 0;
    for (std::size_t i = size; i-- > 0;) {
      value = (value << 8U) | std::to_integer<std::uint64_t>(record[offset + i]);
    }
    return value;
  };
  CHECK(std::memcmp(record.data(), "KVR1", 4) == 0);
  CHECK(at(4, 2) == 1);
  CHECK(at(6, 2) == 2);
  CHECK(at(8, 8) == header.length_bytes);
  CHECK(at(16, 8) == 0x0102030405060708);
  CHECK(at(24, 1) == 0x5A);
  CHECK(at(40, 8) == 42);
  CHECK(at(48, 8) == 256);
  CHECK(at(56, 4) == 3);
  CHECK(at(60, 4) == 128);
  CHECK(at(64, 4) == 1);
  CHECK(at(68, 4) == 2);
  CHECK(at(72, 8) == 0x6B7661756C743031);
  CHECK(at(80, 8) == 3 * 4 + 2 * 32);
  CHECK(at(88, 8) == 512);
  CHECK(at(96, 8) == draft.payload_bytes);
  CHECK(at(104, 8) == 0);
  CHECK(at(112, 8) == 77);
  CHECK(at(120, 8) == header.checksum);
  CHECK(at(128, 1) == 0xA1);
  CHECK(at(160, 1) == 0xB2);
  CHECK(at(192, 4) == 7);
}

TEST_CASE("short: record: every changed byte and every cut is noticed") {
  const ModelShape shape = example_shape();
  for (RecordDraft draft : {tail_draft(10, 2), snapshot_draft(10)}) {
    const std::vector<std::byte> payload = complete(shape, draft, 2);
    RecordHeader header;
    const std::vector<std::byte> record = record_of(draft, payload, header);
    std::vector<std::byte> changed = record;
    for (std::size_t i = 0; i < record.size(); ++i) {
      for (const unsigned mask : {0x01U, 0x80U, 0xFFU}) {
        changed[i] = record[i] ^ static_cast<std::byte>(mask);
        const Result<RecordHeader> verified = verify_record(changed);
        CAPTURE(i);
        if (verified) FAIL("a changed byte was not noticed");
      }
      changed[i] = record[i];
    }
    for (std::size_t size = 0; size < record.size(); size += size < 512 ? 1 : 97) {
      CHECK(verify_record(std::span(record).first(size)).error().code == Errc::truncated);
    }
  }
}

TEST_CASE("short: record: what this version does not know is refused by name") {
  RecordDraft draft = tail_draft(256, 3);
  const std::vector<std::byte> payload = complete(example_shape(), draft, 3);
  RecordHeader header;
  const std::vector<std::byte> record = record_of(draft, payload, header);
  // A header with other bytes and a checksum that is right for them: a later version's.
  const auto refusal = [&](std::size_t offset, unsigned value) {
    std::vector<std::byte> changed = record;
    changed[offset] = static_cast<std::byte>(value);
    std::vector<std::byte> head(changed.begin(),
                                changed.begin() + static_cast<std::ptrdiff_t>(header.head_bytes()));
    std::fill_n(head.begin() + 120, 8, std::byte{0});
    const std::uint64_t checksum = payload_checksum(head);
    for (std::size_t i = 0; i < 8; ++i) {
      changed[120 + i] = static_cast<std::byte>((checksum >> (8 * i)) & 0xFFU);
    }
    const Result<RecordHeader> parsed = parse_head(changed);
    Error error = parsed ? Error{} : parsed.error();
    if (parsed) {
      const Result<PayloadMeta> meta = parse_payload_meta(*parsed, changed);
      REQUIRE_FALSE(meta);
      error = meta.error();
    }
    CHECK(error.code == Errc::unknown_format);
    return error.message;
  };
  const auto has = [](const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(has(refusal(0, 'X'), "magic"));
  CHECK(has(refusal(4, 2), "version 2"));
  CHECK(has(refusal(6, 9), "kind 9"));
  CHECK(has(refusal(60, 64), "page size 64"));
  CHECK(has(refusal(64, 2), "table id 2"));
  CHECK(has(refusal(72, 0), "rotation seed"));
  CHECK(has(refusal(104, 2), "flags 2"));
  CHECK(has(refusal(108, 1), "reserved word 1"));
  CHECK(has(refusal(192 + 12, 9), "kind 9"));  // of the first chunk
}

TEST_CASE("short: record: counts and offsets are bounded before they are used") {
  RecordDraft draft = page_draft(1);
  complete(example_shape(), draft, 4);
  const std::vector<std::byte> meta = serialise_payload_meta(draft.meta);
  RecordHeader header{.kind = RecordKind::page, .n_token = kPageTokens, .n_chunk = 2};
  place_payload(header, meta.size(), draft.payload_bytes);
  std::vector<std::byte> head = serialise_head(header, meta);
  const auto reparse = [&](RecordHeader changed) {
    return parse_payload_meta(changed, head).error().code;
  };
  RecordHeader changed = header;
  changed.n_chunk = UINT32_MAX;
  CHECK(reparse(changed) == Errc::corrupt);
  changed = header;
  changed.n_chunk = 1;
  CHECK(reparse(changed) == Errc::unknown_format);  // an entry taken for block formats
  changed = header;
  changed.payload_bytes = 256;
  CHECK(reparse(changed) == Errc::corrupt);  // a chunk reaches past the payload
  changed = header;
  changed.meta_bytes = head.size();
  CHECK(reparse(changed) == Errc::truncated);
  for (std::size_t offset : {8U, 80U, 88U, 96U}) {  // lengths near 2^64
    std::vector<std::byte> bytes = head;
    for (std::size_t i = 0; i < 8; ++i) bytes[offset + i] = std::byte{0xFF};
    CHECK(parse_header(bytes).error().code == Errc::corrupt);
  }
}

TEST_CASE("short: record: drafts that do not fit the session are refused") {
  const ModelShape shape = example_shape();
  const auto refusal = [&](RecordDraft draft, auto edit) {
    complete(shape, draft, 5);
    REQUIRE(check_draft(shape, draft));
    edit(draft);
    const Result<> checked = check_draft(shape, draft);
    REQUIRE_FALSE(checked);
    CHECK(checked.error().message.size() > 20);
    return checked.error().code;
  };
  using D = RecordDraft;
  const auto append = [](Chunk chunk) {
    return [chunk](D& d) mutable {
      chunk.offset_bytes = align_up(d.payload_bytes, kChunkAlignment);
      d.payload_bytes = chunk.offset_bytes + chunk.size_bytes;
      d.meta.chunks.push_back(chunk);
    };
  };
  CHECK(refusal(page_draft(1), [](D& d) { d.first_token = 100; }) == Errc::invalid_argument);
  CHECK(refusal(page_draft(1), [](D& d) { d.n_token = 127; }) == Errc::invalid_argument);
  CHECK(refusal(page_draft(1), [](D& d) { d.kind = RecordKind::commit; }) ==
        Errc::invalid_argument);
  CHECK(refusal(page_draft(1), [](D& d) { d.meta.token_ids.pop_back(); }) ==
        Errc::invalid_argument);
  CHECK(refusal(page_draft(1), [](D& d) { d.meta.chunks[0].formats[0] = tq2(); }) ==
        Errc::invalid_argument);
  CHECK(refusal(page_draft(1), [](D& d) { d.meta.chunks[0].formats.pop_back(); }) ==
        Errc::shape_mismatch);
  CHECK(refusal(page_draft(1), [](D& d) {
          d.meta.chunks[1].formats[0] = BlockFormat::raw(RowType::bf16);
        }) == Errc::invalid_argument);
  CHECK(refusal(page_draft(1), [](D& d) { d.meta.chunks[0].size_bytes += 128; }) ==
        Errc::shape_mismatch);
  CHECK(refusal(page_draft(1), [](D& d) { d.meta.chunks[1].offset_bytes += 128; }) ==
        Errc::invalid_argument);
  CHECK(refusal(page_draft(1), [](D& d) { d.meta.chunks[1].offset_bytes = 0; }) ==
        Errc::invalid_argument);
  CHECK(refusal(page_draft(1), [](D& d) { d.payload_bytes += 1; }) == Errc::invalid_argument);
  CHECK(refusal(page_draft(1), [](D& d) { d.payload_bytes = UINT64_MAX; }) == Errc::limit_exceeded);
  CHECK(refusal(page_draft(1), [](D& d) { d.meta.chunks[1].layer = 1; }) == Errc::invalid_argument);
  CHECK(refusal(page_draft(1), [](D& d) { d.meta.chunks[1].layer = 9; }) == Errc::invalid_argument);
  CHECK(refusal(page_draft(1), [](D& d) {
          d.meta.chunks.erase(d.meta.chunks.begin());  // the one of full attention
        }) == Errc::incomplete);
  CHECK(refusal(page_draft(1), append({.kind = ChunkKind::equaliser, .size_bytes = 128})) ==
        Errc::invalid_argument);  // only in page 0
  CHECK(refusal(page_draft(0), append({.kind = ChunkKind::equaliser, .size_bytes = 128})) ==
        Errc::invalid_argument);  // comes twice
  CHECK(refusal(tail_draft(256, 3), append({.kind = ChunkKind::query_energy,
                                            .size_bytes = 3 * 64 * 4})) == Errc::invalid_argument);
  CHECK(refusal(tail_draft(256, 3), [](D& d) { d.n_token = 0; }) == Errc::invalid_argument);
  CHECK(refusal(tail_draft(256, 3), [](D& d) { d.first_token = UINT64_MAX; }) ==
        Errc::invalid_argument);
  CHECK(refusal(snapshot_draft(5), [](D& d) { d.meta.chunks[0].size_bytes = 0; }) ==
        Errc::shape_mismatch);
  CHECK(refusal(snapshot_draft(5), [](D& d) {
          d.meta.chunks.clear();
          d.payload_bytes = 0;
        }) == Errc::incomplete);
}

TEST_CASE("short: record: packed chunks are raw and have become less") {
  using D = RecordDraft;
  const auto pack = [](std::size_t chunk, std::uint64_t size_bytes) {
    return [=](D& d) {
      d.meta.chunks[chunk].is_packed = true;
      d.meta.chunks[chunk].size_bytes = size_bytes;
      d.payload_bytes = place_chunks(d.meta.chunks);
    };
  };
  const auto refusal = [](RecordDraft draft, auto edit) {
    complete(example_shape(), draft, 5);
    edit(draft);
    return check_draft(example_shape(), draft).error().code;
  };
  const std::uint64_t rows_bytes = 3 * (2 * 32 + 2 * 64) * 2;
  const std::uint64_t window_bytes = 128 * (5 + 3) * 2;
  constexpr std::uint64_t kSeal = 40;
  for (const std::uint64_t size_bytes : {std::uint64_t{1}, rows_bytes - 1}) {
    RecordDraft draft = tail_draft(256, 3);
    complete(example_shape(), draft, 8);
    pack(0, size_bytes)(draft);
    const Result<> checked = check_draft(example_shape(), draft);
    INFO((checked ? "" : checked.error().message));
    CHECK(checked);
    CHECK(check_draft(example_shape(), draft, kSeal).error().code == Errc::shape_mismatch);
    for (Chunk& chunk : draft.meta.chunks) chunk.size_bytes += kSeal;
    draft.payload_bytes = place_chunks(draft.meta.chunks);
    CHECK(check_draft(example_shape(), draft, kSeal));
    RecordHeader header;
    const std::vector<std::byte> meta = serialise_payload_meta(draft.meta);
    const std::vector<std::byte> record =
        record_of(draft, std::vector<std::byte>(draft.payload_bytes), header);
    CHECK(parse_payload_meta(header, record)->chunks[0].is_packed);
    CHECK(!parse_payload_meta(header, record)->chunks[1].is_packed);
  }
  CHECK(refusal(tail_draft(256, 3), pack(0, 0)) == Errc::shape_mismatch);
  CHECK(refusal(tail_draft(256, 3), pack(0, rows_bytes)) == Errc::shape_mismatch);
  CHECK(refusal(tail_draft(200, 3), pack(2, 1)) == Errc::shape_mismatch);  // queries' energy
  CHECK(refusal(snapshot_draft(5), pack(0, 900)) == Errc::shape_mismatch);
  CHECK(refusal(page_draft(1), pack(0, 1)) == Errc::shape_mismatch);  // some of it is coded
  RecordDraft page = page_draft(1);
  complete(example_shape(), page, 9);
  pack(1, window_bytes - 1)(page);
  CHECK(check_draft(example_shape(), page));
}

TEST_CASE(
    "short: record: payloads at multiples of 4096, as earlier writers placed them, are read") {
  RecordDraft draft = page_draft(2);
  const std::vector<std::byte> payload = complete(example_shape(), draft, 10);
  RecordHeader header;
  const std::vector<std::byte> close = record_of(draft, payload, header);
  const std::vector<std::byte> meta = serialise_payload_meta(draft.meta);
  header.payload_offset = align_up(header.head_bytes(), kRecordAlignment);
  header.length_bytes = header.payload_offset + align_up(payload.size(), kRecordAlignment);
  std::vector<std::byte> record = serialise_head(header, meta);
  record.resize(header.length_bytes);
  std::copy(payload.begin(), payload.end(),
            record.begin() + static_cast<std::ptrdiff_t>(header.payload_offset));
  const Result<RecordHeader> verified = verify_record(record);
  INFO((verified ? "" : verified.error().message));
  CHECK(verified);
  header.payload_offset += kRecordAlignment;
  header.length_bytes += kRecordAlignment;
  CHECK(parse_head(serialise_head(header, meta)).error().code == Errc::corrupt);
  header.payload_offset = header.head_bytes() / 256 * 256;
  CHECK(parse_head(serialise_head(header, meta)).error().code == Errc::corrupt);
}

TEST_CASE("short: record: a page may go without the rows that have left a sliding window") {
  RecordDraft draft = page_draft(1);
  draft.meta.chunks.pop_back();
  complete(example_shape(), draft, 6);
  CHECK(check_draft(example_shape(), draft));
}

CommitMeta example_commit() {
  CommitMeta meta{.n_token = 300,
                  .n_page = 1,
                  .created_at_s = 5,
                  .committed_at_s = 9,
                  .description = {},
                  .records = {}};
  meta.description.name = "chat";
  meta.description.shape = example_shape();
  meta.records = {
      {.kind = RecordKind::page,
       .pack_kind = PackKind::pages,
       .pack_number = 2,
       .offset_bytes = 4096,
       .length_bytes = 8192,
       .first_token = 0,
       .n_token = 128,
       .transaction = 7,
       .checksum = 123},
      {.kind = RecordKind::tail,
       .pack_kind = PackKind::log,
       .pack_number = 1,
       .offset_bytes = 8192,
       .length_bytes = 4096,
       .first_token = 128,
       .n_token = 172,
       .transaction = 8,
       .checksum = UINT64_MAX},
      {.kind = RecordKind::snapshot,
       .pack_kind = PackKind::log,
       .pack_number = 1,
       .offset_bytes = 12288,
       .length_bytes = 8192,
       .first_token = 300,
       .n_token = 0,
       .transaction = 8,
       .checksum = 1},
  };
  return meta;
}

TEST_CASE("short: record: commits survive bytes and back, every changed byte is noticed") {
  const CommitMeta commit = example_commit();
  const std::vector<std::byte> meta = *serialise_commit_meta(commit);
  RecordHeader header{.kind = RecordKind::commit};
  place_payload(header, meta.size(), 0);
  std::vector<std::byte> record = serialise_head(header, meta);
  record.resize(header.length_bytes);
  CHECK(*parse_commit_meta(*verify_record(record), record) == commit);
  for (std::size_t i = 0; i < record.size(); ++i) {
    record[i] ^= std::byte{0x10};
    if (verify_record(record)) FAIL("a changed byte was not noticed");
    // Behind a right checksum, it is still bounded.
    static_cast<void>(parse_commit_meta(header, record).has_value());
    record[i] ^= std::byte{0x10};
  }

  RecordHeader tombstone{.kind = RecordKind::tombstone};
  place_payload(tombstone, 0, 0);
  std::vector<std::byte> bytes = serialise_head(tombstone, {});
  bytes.resize(tombstone.length_bytes);
  CHECK(*verify_record(bytes) == tombstone);
}

TEST_CASE("short: record: live records that cannot be are refused") {
  const auto refusal = [](auto edit) {
    CommitMeta commit = example_commit();
    edit(commit.records[0]);
    const std::vector<std::byte> meta = *serialise_commit_meta(commit);
    RecordHeader header{.kind = RecordKind::commit};
    place_payload(header, meta.size(), 0);
    const Result<CommitMeta> parsed = parse_commit_meta(header, serialise_head(header, meta));
    return parsed ? Errc::internal : parsed.error().code;
  };
  CHECK(refusal([](LiveRecord& r) { r.kind = RecordKind::commit; }) == Errc::unknown_format);
  CHECK(refusal([](LiveRecord& r) { r.pack_kind = PackKind::log; }) == Errc::corrupt);
  CHECK(refusal([](LiveRecord& r) { r.pack_number = 0; }) == Errc::corrupt);
  CHECK(refusal([](LiveRecord& r) { r.offset_bytes = 0; }) == Errc::corrupt);
  CHECK(refusal([](LiveRecord& r) { r.offset_bytes = 100; }) == Errc::corrupt);
  CHECK(refusal([](LiveRecord& r) { r.length_bytes = 0; }) == Errc::corrupt);
  CHECK(refusal([](LiveRecord& r) { r.length_bytes = ~std::uint64_t{4095}; }) == Errc::corrupt);
  CHECK(refusal([](LiveRecord& r) { r.n_token = 127; }) == Errc::corrupt);
  CHECK(refusal([](LiveRecord& r) { r.first_token = 64; }) == Errc::corrupt);
}

TEST_CASE("short: record: session ids as text") {
  SessionId id;
  for (std::size_t i = 0; i < id.bytes.size(); ++i) id.bytes[i] = static_cast<std::byte>(i * 17);
  CHECK(to_hex(id) == "00112233445566778899aabbccddeeff");
  CHECK(*session_id_from_hex(to_hex(id)) == id);
  CHECK_FALSE(session_id_from_hex("00112233445566778899aabbccddeef"));
  CHECK_FALSE(session_id_from_hex("00112233445566778899AABBCCDDEEFF"));
  CHECK_FALSE(session_id_from_hex("00112233445566778899aabbccddeefg"));
}

TEST_CASE("short: pack header: bytes and back, names, every changed byte") {
  const PackHeader header{.name = {PackKind::pages, 12}, .pack_id = 0xABCDEF, .epoch = 3};
  std::vector<std::byte> bytes = serialise_pack_header(header);
  CHECK(bytes.size() == 4096);
  CHECK(*parse_pack_header(bytes) == header);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] ^= std::byte{0x04};
    CHECK_FALSE(parse_pack_header(bytes));
    bytes[i] ^= std::byte{0x04};
  }
  CHECK(parse_pack_header(std::span(bytes).first(4095)).error().code == Errc::truncated);
  bytes[1000] = std::byte{1};  // reserved, and the checksum is right
  std::fill_n(bytes.begin() + 24, 8, std::byte{0});
  const std::uint64_t checksum = payload_checksum(bytes);
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[24 + i] = static_cast<std::byte>(checksum >> (8 * i) & 0xFFU);
  }
  CHECK(parse_pack_header(bytes).error().code == Errc::unknown_format);
  CHECK(file_name_of({PackKind::log, 1}) == "log-000001.pack");
  CHECK(file_name_of({PackKind::pages, 1234567}) == "pages-1234567.pack");
  CHECK(*pack_name_from("pages-1234567.pack") == PackName{PackKind::pages, 1234567});
  for (const char* name : {"log-1.pack", "log-000000.pack", "log-000001.pac", "log-00000a.pack",
                           "pages-0000001.pack", "other-000001.pack", "log-.pack", ""}) {
    CAPTURE(name);
    CHECK_FALSE(pack_name_from(name));
  }
}

}  // namespace
}  // namespace kvault
