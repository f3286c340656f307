#include <algorithm>

#include "core/format/attributes.hpp"
#include "tests/torture/fuzz/fuzz_target.hpp"

namespace kvault::torture {
namespace {

std::vector<std::byte> written(const SessionAttributes& attributes) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  put_attributes(writer, attributes);
  return bytes;
}

}  // namespace

/// What a row of the catalog, and every commit, says of a session besides its description.
FuzzTarget attributes_target() {
  FuzzTarget target{.name = "attributes", .seeds = nullptr, .run = nullptr, .mend = nullptr};
  target.seeds = [] {
    SessionAttributes full;
    full.is_pinned = true;
    full.expires_at_s = 1'900'000'000;
    full.labels = {"work", "work/2"};
    full.forked_from.bytes[2] = std::byte{3};
    full.forked_at_token = 384;
    SessionAttributes made = full;
    made.made_by[5] = std::byte{9};
    return std::vector<std::vector<std::byte>>{written({}), written(full), written(made)};
  };
  target.run = [](std::span<const std::byte> bytes) {
    ByteReader reader(bytes);
    const Result<SessionAttributes> attributes = take_attributes(reader);
    if (!attributes) return;
    must(check_attributes(*attributes).has_value(), "attributes are read and not sound");
    const std::vector<std::byte> again = written(*attributes);
    must(again.size() == bytes.size() - reader.left(), "attributes change their size");
    must(std::equal(again.begin(), again.end(), bytes.begin()), "attributes change when written");
  };
  return target;
}

}  // namespace kvault::torture
