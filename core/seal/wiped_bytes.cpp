#include "core/seal/wiped_bytes.hpp"

#include <sodium.h>

namespace kvault {

void wipe(std::span<std::byte> bytes) noexcept {
  if (!bytes.empty()) sodium_memzero(bytes.data(), bytes.size());
}

void wipe_stack() noexcept { sodium_stackzero(std::size_t{32} << 10U); }

}  // namespace kvault
