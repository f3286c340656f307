#include "core/format/payload_hash.hpp"

#if defined(KVAULT_XXHASH_DISPATCHES)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#include "core/base/assert.hpp"

namespace kvault {
namespace {

#if defined(KVAULT_XXHASH_DISPATCHES)
/// The first call chooses the instruction set, and must not do so in two threads at once.
void choose_instructions() noexcept {
  static const bool is_chosen = XXH3_64bits_dispatch("", 1) != 0;
  static_cast<void>(is_chosen);
}
#endif

}  // namespace

std::uint64_t payload_checksum(std::span<const std::byte> bytes) noexcept {
#if defined(KVAULT_XXHASH_DISPATCHES)
  choose_instructions();
  return XXH3_64bits_dispatch(bytes.data(), bytes.size());
#else
  return XXH3_64bits(bytes.data(), bytes.size());
#endif
}

void PayloadHash::Free::operator()(XXH3_state_s* state) const noexcept { XXH3_freeState(state); }

PayloadHash::PayloadHash() : state_(XXH3_createState()) {
  KVAULT_ASSERT(state_ != nullptr);
  reset();
}

void PayloadHash::update(std::span<const std::byte> bytes) noexcept {
#if defined(KVAULT_XXHASH_DISPATCHES)
  choose_instructions();
  XXH3_64bits_update_dispatch(state_.get(), bytes.data(), bytes.size());
#else
  XXH3_64bits_update(state_.get(), bytes.data(), bytes.size());
#endif
}

std::uint64_t PayloadHash::digest() const noexcept { return XXH3_64bits_digest(state_.get()); }

void PayloadHash::reset() noexcept { XXH3_64bits_reset(state_.get()); }

}  // namespace kvault
