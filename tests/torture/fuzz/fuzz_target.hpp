#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace kvault::torture {

/// A parser under fire. A new one is a file target_<name>.cpp with a function
/// `FuzzTarget <name>_target()`; CMake finds it and lists it in fuzz_targets.inc.
struct FuzzTarget {
  std::string_view name;
  /// Sound inputs, to begin with.
  std::vector<std::vector<std::byte>> (*seeds)();
  /// Reads one input. Throws FuzzFailure where what was accepted is not what was given.
  void (*run)(std::span<const std::byte> bytes);
  /// Makes checksums right again after a mutation, so that parsing goes deep; may be null.
  void (*mend)(std::vector<std::byte>& bytes) = nullptr;
};

struct FuzzFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void must(bool is_so, const char* what) {
  if (!is_so) throw FuzzFailure(what);
}

/// Little-endian integers at an offset; false and no change where they do not fit.
template <class T>
bool peek(std::span<const std::byte> bytes, std::size_t at, T& value) {
  if (bytes.size() < sizeof(T) || at > bytes.size() - sizeof(T)) return false;
  value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<T>(static_cast<T>(bytes[at + i]) << (8 * i));
  }
  return true;
}
template <class T>
void poke(std::span<std::byte> bytes, std::size_t at, T value) {
  if (bytes.size() < sizeof(T) || at > bytes.size() - sizeof(T)) return;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    bytes[at + i] = static_cast<std::byte>((value >> (8 * i)) & 0xFFU);
  }
}

}  // namespace kvault::torture
