#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

struct XXH3_state_s;

namespace kvault {

/// XXH3-64 with seed 0: the checksum of chunks, headers and packs.
std::uint64_t payload_checksum(std::span<const std::byte> bytes) noexcept;

/// The same of bytes that come in pieces. Movable; one thread at a time.
class PayloadHash {
 public:
  PayloadHash();

  void update(std::span<const std::byte> bytes) noexcept;
  std::uint64_t digest() const noexcept;
  /// Begins anew.
  void reset() noexcept;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const noexcept;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

}  // namespace kvault
