#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <vector>

#include "sdk/src/record_maker.hpp"

// Records made by two threads: the chunks, in the order and with the bytes and checksums that one
// thread alone gives.

namespace kvault {
namespace {

/// Rows of f16 whose high bytes repeat, as a model's do. Differs by seed.
std::vector<std::byte> rows_of(std::size_t n_element, unsigned seed) {
  std::minstd_rand random(seed);
  std::vector<std::byte> rows(n_element * 2);
  for (std::size_t i = 0; i < n_element; ++i) {
    rows[2 * i] = static_cast<std::byte>(random() >> 3U);
    rows[2 * i + 1] = static_cast<std::byte>(0x38U + (random() >> 5U) % 5);
  }
  return rows;
}

std::vector<std::byte> noise_of(std::size_t size_bytes, unsigned seed) {
  std::minstd_rand random(seed);
  std::vector<std::byte> bytes(size_bytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() >> 3U);
  return bytes;
}

Chunk chunk_of(ChunkKind kind, std::uint32_t layer) {
  Chunk chunk;
  chunk.kind = kind;
  chunk.layer = layer;
  return chunk;
}

RecordDraft tail_draft() {
  RecordDraft draft;
  draft.kind = RecordKind::tail;
  draft.first_token = 640;
  return draft;
}

/// A chunk of rows, one of noise that nothing packs, and one that stays as it is, per layer.
OutgoingRecord make(RecordMaker& maker, std::uint32_t n_layer, std::size_t n_element,
                    unsigned seed) {
  for (std::uint32_t layer = 0; layer < n_layer; ++layer) {
    std::vector<std::byte> rows = maker.spare();
    rows = rows_of(n_element, seed + layer);
    const std::size_t size_bytes = rows.size();
    maker.add_rows(chunk_of(ChunkKind::rows, layer), std::move(rows), size_bytes - 1);
    maker.add_rows(chunk_of(ChunkKind::segment, layer), noise_of(n_element, seed + layer),
                   n_element - 1);
    maker.add(chunk_of(ChunkKind::query_energy, layer), noise_of(333, layer));
  }
  return maker.finish(tail_draft());
}

void check_record(const OutgoingRecord& record, std::uint32_t n_layer, std::size_t n_element,
                  unsigned seed, bool packs) {
  REQUIRE(record.chunks.size() == 3 * n_layer);
  REQUIRE(record.draft.meta.chunks.size() == 3 * n_layer);
  CHECK(record.draft.first_token == 640);
  RowPacker packer;
  std::uint64_t end = 0;
  for (std::uint32_t layer = 0; layer < n_layer; ++layer) {
    CAPTURE(layer);
    const std::vector<std::byte> rows = rows_of(n_element, seed + layer);
    const auto packed = packer.pack(rows, 2, rows.size() - 1);
    REQUIRE(!packed.empty());
    const std::vector<std::byte> expected[] = {
        packs ? std::vector<std::byte>(packed.begin(), packed.end()) : rows,
        noise_of(n_element, seed + layer), noise_of(333, layer)};
    for (std::size_t i = 0; i < 3; ++i) {
      CAPTURE(i);
      const Chunk& chunk = record.draft.meta.chunks[3 * layer + i];
      CHECK(record.chunks[3 * layer + i] == expected[i]);
      CHECK(chunk.layer == layer);
      CHECK(chunk.is_packed == (packs && i == 0));
      CHECK(chunk.size_bytes == expected[i].size());
      CHECK(chunk.checksum == payload_checksum(expected[i]));
      CHECK(chunk.offset_bytes >= end);
      end = chunk.offset_bytes + chunk.size_bytes;
    }
  }
  CHECK(record.draft.payload_bytes == end);
}

}  // namespace

TEST_CASE("short: record maker: two threads make what one makes, record after record") {
  for (const bool packs : {true, false}) {
    CAPTURE(packs);
    RecordMaker maker(2, packs);
    for (unsigned seed = 1; seed < 5; ++seed) {
      CAPTURE(seed);
      // The first is too small for a second thread, the others are not.
      const std::uint32_t n_layer = seed == 1 ? 2 : 20;
      const std::size_t n_element = seed == 1 ? 1000 : 60'000;
      check_record(make(maker, n_layer, n_element, seed), n_layer, n_element, seed, packs);
    }
    CHECK(maker.finish(tail_draft()).chunks.empty());
  }
}

TEST_CASE("short: record maker: memory of rows that were packed is given back") {
  RecordMaker maker(2, true);
  CHECK(maker.spare().empty());
  std::vector<std::byte> rows = rows_of(4096, 1);
  const std::byte* const memory = rows.data();
  maker.add_rows(chunk_of(ChunkKind::rows, 0), std::move(rows), 8191);
  CHECK(maker.spare().data() == memory);
  CHECK(maker.spare().empty());
}

TEST_CASE("short: record maker: one that is given up in the middle ends its thread") {
  RecordMaker maker(2, true);
  for (std::uint32_t layer = 0; layer < 30; ++layer) {
    maker.add_rows(chunk_of(ChunkKind::rows, layer), rows_of(60'000, layer), 119'999);
  }
}

}  // namespace kvault
