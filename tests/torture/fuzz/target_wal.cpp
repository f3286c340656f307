#include "daemon/wal_check.hpp"
#include "tests/torture/fuzz/fuzz_target.hpp"

namespace kvault::torture {
namespace {

constexpr std::size_t kPageBytes = 512;

void put_big_endian(std::vector<std::byte>& bytes, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes.push_back(static_cast<std::byte>(value >> static_cast<unsigned>(shift) & 0xFFU));
  }
}

/// Written from SQLite's description of the format, sharing nothing with the check.
class Log {
 public:
  Log() {
    for (const std::uint32_t word :
         {0x377F0683U, 3007000U, std::uint32_t{kPageBytes}, 1U, 11U, 22U}) {
      put_big_endian(bytes_, word);
    }
    sum(0, 24);
    put_sum();
  }
  void add(std::uint32_t page, std::uint32_t n_page_after) {
    const std::size_t begin = bytes_.size();
    for (const std::uint32_t word : {page, n_page_after, 11U, 22U}) put_big_endian(bytes_, word);
    const std::vector<std::byte> content(kPageBytes, static_cast<std::byte>(page));
    std::vector<std::byte> frame(bytes_.begin() + static_cast<std::ptrdiff_t>(begin), bytes_.end());
    bytes_.resize(begin + 8);
    bytes_.insert(bytes_.end(), content.begin(), content.end());
    sum(begin, 8 + kPageBytes);
    bytes_.resize(begin);
    bytes_.insert(bytes_.end(), frame.begin(), frame.end());
    put_sum();
    bytes_.insert(bytes_.end(), content.begin(), content.end());
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void sum(std::size_t at, std::size_t size) {
    const auto word = [&](std::size_t i) {
      std::uint32_t value = 0;
      for (std::size_t k = 0; k < 4; ++k) {
        value = value << 8U | std::to_integer<std::uint32_t>(bytes_[i + k]);
      }
      return value;
    };
    for (std::size_t i = at; i < at + size; i += 8) {
      first_ += word(i) + second_;
      second_ += word(i + 4) + first_;
    }
  }
  void put_sum() {
    put_big_endian(bytes_, first_);
    put_big_endian(bytes_, second_);
  }
  std::vector<std::byte> bytes_;
  std::uint32_t first_ = 0;
  std::uint32_t second_ = 0;
};

std::vector<std::byte> sound_log() {
  Log log;
  log.add(1, 0);
  log.add(2, 2);
  log.add(3, 3);
  log.add(1, 3);
  return log.take();
}

}  // namespace

FuzzTarget wal_target() {
  FuzzTarget target{.name = "wal", .seeds = nullptr, .run = nullptr, .mend = nullptr};
  target.seeds = [] { return std::vector<std::vector<std::byte>>{sound_log()}; };
  target.run = [](std::span<const std::byte> bytes) {
    const std::vector<std::byte> sound = sound_log();
    const bool is_accepted = check_wal(bytes).has_value();
    if (std::equal(bytes.begin(), bytes.end(), sound.begin(), sound.end())) {
      must(is_accepted, "a sound log is refused");
    }
  };
  return target;
}

}  // namespace kvault::torture
