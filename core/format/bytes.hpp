#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvault {

/// Appends little-endian integers and bytes to a vector.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<std::byte>& target) : target_(target) {}

  template <std::unsigned_integral T>
  void put(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      target_.push_back(static_cast<std::byte>((std::uint64_t{value} >> (8 * i)) & 0xFFU));
    }
  }
  void put_bytes(std::span<const std::byte> bytes);
  void put_text(std::string_view text) { put_bytes(std::as_bytes(std::span(text))); }
  void put_zeros(std::size_t count) { target_.resize(target_.size() + count); }

 private:
  std::vector<std::byte>& target_;
};

/// Reads little-endian integers and bytes from the front. Past the end it answers zero and
/// `is_short()` turns true for good: read a group, then ask once. Ask `left()` before believing a
/// count.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <std::unsigned_integral T>
  T take() {
    const std::span<const std::byte> source = take_bytes(sizeof(T));
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < source.size(); ++i) {
      value |= std::to_integer<std::uint64_t>(source[i]) << (8 * i);
    }
    return static_cast<T>(value);
  }
  /// Borrowed; empty past the end.
  std::span<const std::byte> take_bytes(std::size_t count) {
    if (count > bytes_.size()) {
      is_short_ = true;
      bytes_ = {};
      return {};
    }
    const std::span<const std::byte> taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }
  std::string take_text(std::size_t count) {
    const std::span<const std::byte> taken = take_bytes(count);
    std::string text(taken.size(), '\0');
    for (std::size_t i = 0; i < taken.size(); ++i) text[i] = std::to_integer<char>(taken[i]);
    return text;
  }

  std::size_t left() const { return bytes_.size(); }
  bool is_short() const { return is_short_; }

 private:
  std::span<const std::byte> bytes_;
  bool is_short_ = false;
};

}  // namespace kvault
