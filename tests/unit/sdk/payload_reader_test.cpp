#include "sdk/src/payload_reader.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

namespace kvault {
namespace {

std::vector<std::byte> counted(std::size_t size, unsigned first) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(1 + (first + i) % 255);
  return bytes;
}

TEST_CASE("payload reader: pieces cut anywhere fill the chunks, zeros the gaps, at any step") {
  RecordDraft draft{.meta = {}, .payload_bytes = 1000};
  draft.meta.chunks = {{ChunkKind::rows, 0, 0, 100, 0, {}},
                       {ChunkKind::rows, 1, 256, 44, 0, {}},
                       {ChunkKind::rows, 2, 512, 0, 0, {}},
                       {ChunkKind::rows, 3, 768, 200, 0, {}}};
  const std::vector<std::byte> bytes = counted(344, 0);
  std::vector<std::byte> expected(1000);
  std::copy_n(bytes.begin(), 100, expected.begin());
  std::copy_n(bytes.begin() + 100, 44, expected.begin() + 256);
  std::copy_n(bytes.begin() + 144, 200, expected.begin() + 768);

  const std::span<const std::byte> all(bytes);
  const std::vector<std::span<const std::byte>> pieces{
      all.first(0), all.first(7), all.subspan(7, 130), all.subspan(137, 0), all.subspan(137)};
  for (const std::size_t step : {1U, 3U, 99U, 256U, 1000U}) {
    CAPTURE(step);
    Result<PayloadReader> reader = PayloadReader::create(draft, pieces);
    REQUIRE(reader.has_value());
    std::vector<std::byte> target(1000, std::byte{0xEE});
    while (reader->left_bytes() > 0) {
      const std::size_t size = std::min<std::size_t>(step, reader->left_bytes());
      reader->read(std::span(target).subspan(reader->position(), size));
    }
    CHECK(target == expected);
  }
}

TEST_CASE("payload reader: pieces and chunks that do not fit are refused with the numbers") {
  const std::vector<std::byte> bytes = counted(100, 0);
  const std::vector<std::span<const std::byte>> pieces{bytes};
  RecordDraft draft{.meta = {}, .payload_bytes = 300};
  const auto error_of = [&](std::vector<Chunk> chunks) {
    draft.meta.chunks = std::move(chunks);
    const Result<PayloadReader> reader = PayloadReader::create(draft, pieces);
    REQUIRE_FALSE(reader.has_value());
    CHECK(reader.error().code == Errc::invalid_argument);
    return reader.error().message;
  };
  CHECK(error_of({{ChunkKind::rows, 0, 0, 99, 0, {}}}).find("99") != std::string::npos);
  CHECK(error_of({{ChunkKind::rows, 0, 256, 100, 0, {}}}).find("300") != std::string::npos);
  CHECK(error_of({{ChunkKind::rows, 0, ~std::uint64_t{0}, 100, 0, {}}}).find("300") !=
        std::string::npos);
  (void)error_of({{ChunkKind::rows, 0, 0, 60, 0, {}}, {ChunkKind::rows, 0, 50, 40, 0, {}}});
}

}  // namespace
}  // namespace kvault
