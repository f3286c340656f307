#include <algorithm>

#include "core/format/row_packing.hpp"
#include "tests/torture/fuzz/fuzz_target.hpp"

namespace kvault::torture {
namespace {

/// The first byte says how wide elements are, the next two how many there are to be.
constexpr std::size_t kHeadBytes = 3;

/// Rows whose upper bytes are of few kinds, as a model's are.
std::vector<std::byte> packed(std::size_t element_bytes, std::size_t n_element) {
  std::vector<std::byte> rows(n_element * element_bytes);
  unsigned state = 12345;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    state = state * 1103515245U + 12345U;
    const bool is_upper = i % element_bytes == element_bytes - 1;
    rows[i] = static_cast<std::byte>(is_upper ? 0x3AU + (state >> 30U) : state >> 16U);
  }
  RowPacker packer;
  const auto bytes = packer.pack(rows, element_bytes, SIZE_MAX);
  std::vector<std::byte> input(kHeadBytes + bytes.size());
  input[0] = static_cast<std::byte>(element_bytes == 4);
  poke(input, 1, static_cast<std::uint16_t>(n_element));
  std::copy(bytes.begin(), bytes.end(), input.begin() + kHeadBytes);
  return input;
}

}  // namespace

/// Raw rows as a pack holds them, behind a checksum that somebody has made right.
FuzzTarget packed_rows_target() {
  FuzzTarget target{.name = "packed_rows", .seeds = nullptr, .run = nullptr, .mend = nullptr};
  target.seeds = [] {
    return std::vector<std::vector<std::byte>>{packed(2, 1), packed(2, 640), packed(4, 320)};
  };
  target.run = [](std::span<const std::byte> bytes) {
    // Kept from input to input, as a restore keeps them from piece to piece.
    static thread_local RowUnpacker unpacker;
    static thread_local RowPacker packer;
    std::uint16_t n_element = 0;
    if (!peek(bytes, 1, n_element)) return;
    const std::size_t element_bytes = (bytes[0] & std::byte{1}) == std::byte{} ? 2 : 4;
    std::vector<std::byte> rows((n_element & 0xFFFU) * element_bytes);
    if (!unpacker.unpack(bytes.subspan(kHeadBytes), element_bytes, rows)) return;
    std::vector<std::byte> again(rows.size());
    const auto repacked = packer.pack(rows, element_bytes, SIZE_MAX);
    must(unpacker.unpack(repacked, element_bytes, again).has_value() && again == rows,
         "rows that unpacked do not come back from their own packing");
  };
  return target;
}

}  // namespace kvault::torture
