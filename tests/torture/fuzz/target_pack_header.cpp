#include "core/format/pack_header.hpp"
#include "tests/torture/fuzz/fuzz_target.hpp"

namespace kvault::torture {

FuzzTarget pack_header_target() {
  constexpr std::size_t kChecksumOffset = 24;
  FuzzTarget target{.name = "pack_header", .seeds = nullptr, .run = nullptr, .mend = nullptr};
  target.seeds = [] {
    std::vector<std::vector<std::byte>> seeds;
    for (const PackKind kind : {PackKind::log, PackKind::pages}) {
      seeds.push_back(
          serialise_pack_header({.name = {kind, 7}, .pack_id = 0x1234567890ABCDEF, .epoch = 3}));
    }
    return seeds;
  };
  target.run = [](std::span<const std::byte> bytes) {
    const Result<PackHeader> header = parse_pack_header(bytes);
    if (!header) return;
    const std::vector<std::byte> again = serialise_pack_header(*header);
    must(std::equal(again.begin(), again.end(), bytes.begin()),
         "a pack header is accepted whose bytes are not those it is written with");
  };
  target.mend = [](std::vector<std::byte>& bytes) {
    if (bytes.size() < kPackHeaderSize) return;
    poke(std::span(bytes), kChecksumOffset, std::uint64_t{0});
    const std::uint64_t checksum = payload_checksum(std::span(bytes).first(kPackHeaderSize));
    poke(std::span(bytes), kChecksumOffset, checksum);
  };
  return target;
}

}  // namespace kvault::torture
