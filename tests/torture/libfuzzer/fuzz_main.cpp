// One target as a libFuzzer executable; KVAULT_FUZZ_NAME says which.

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "tests/support/random.hpp"
#include "tests/torture/fuzz/fuzz_target.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t size_max);

#define KVAULT_JOIN_(a, b) a##b
#define KVAULT_JOIN(a, b) KVAULT_JOIN_(a, b)

namespace kvault::torture {
FuzzTarget KVAULT_JOIN(KVAULT_FUZZ_NAME, _target)();
}  // namespace kvault::torture

namespace {

kvault::torture::FuzzTarget target() {
  return kvault::torture::KVAULT_JOIN(KVAULT_FUZZ_NAME, _target)();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  target().run(std::as_bytes(std::span(data, size)));
  return 0;
}

/// Begins with the target's seeds; mends checksums three times of four.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t size_max, unsigned int seed) {
  kvault::test::Random random(seed);
  if (size < 8) {
    const auto seeds = target().seeds();
    const auto& chosen = seeds[random.next() % seeds.size()];
    size = std::min(chosen.size(), size_max);
    std::memcpy(data, chosen.data(), size);
  }
  size = LLVMFuzzerMutate(data, size, size_max);
  if (target().mend == nullptr || random.integer(0, 3) == 0) return size;
  const auto bytes = std::as_bytes(std::span(data, size));
  std::vector<std::byte> mended(bytes.begin(), bytes.end());
  target().mend(mended);
  std::memcpy(data, mended.data(), size);
  return size;
}
