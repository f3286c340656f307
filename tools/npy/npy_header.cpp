#include "tools/npy/npy_header.hpp"

#include <limits>

namespace kvault::tools {
namespace {

constexpr std::size_t kDimensionsMax = 32;  // as NumPy

/// Reads the little of Python's grammar that a header needs.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  /// Skips blanks, then takes `c` if it is next.
  bool take(char c) {
    skip_blanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  Result<> expect(char c) {
    if (take(c)) return {};
    return wanted(message("'", std::string(1, c), "'"));
  }

  Result<std::string> text() {
    skip_blanks();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') return wanted("a string");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) return wanted("the end of a string");
    std::string found(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return found;
  }

  Result<bool> truth() {
    skip_blanks();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return value;
    }
    return wanted("True or False");
  }

  Result<std::uint64_t> number() {
    skip_blanks();
    const std::size_t first = at_;
    std::uint64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      const auto digit = static_cast<std::uint64_t>(text_[at_] - '0');
      if (value > (std::numeric_limits<std::uint64_t>::max() - digit) / 10) {
        return fail(Errc::limit_exceeded, message("a dimension beyond 2^64 at character ", first));
      }
      value = value * 10 + digit;
    }
    if (at_ == first) return wanted("a number");
    return value;
  }

  Result<> end() {
    skip_blanks();
    if (at_ == text_.size()) return {};
    return wanted("the end");
  }

  tl::unexpected<Error> wanted(std::string_view what) const {
    return fail(Errc::unknown_format, message("the header should have ", what, " at character ",
                                              at_, " of ", text_.size()));
  }

 private:
  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

/// (2, 300, 64) or (2,) or ().
Result<std::vector<std::uint64_t>> scan_shape(Scanner& scanner) {
  KVAULT_CHECK(scanner.expect('('));
  std::vector<std::uint64_t> shape;
  while (!scanner.take(')')) {
    KVAULT_TRY(const std::uint64_t n, scanner.number());
    shape.push_back(n);
    if (shape.size() > kDimensionsMax) {
      return fail(Errc::limit_exceeded, message("more than ", kDimensionsMax, " dimensions"));
    }
    if (scanner.take(',')) continue;
    KVAULT_CHECK(scanner.expect(')'));
    break;
  }
  return shape;
}

}  // namespace

Result<NpyHeader> parse_npy_header(std::string_view text) {
  NpyHeader header;
  bool has_descr = false;
  bool has_order = false;
  bool has_shape = false;
  Scanner scanner(text);
  KVAULT_CHECK(scanner.expect('{'));
  while (!scanner.take('}')) {
    KVAULT_TRY(const std::string key, scanner.text());
    KVAULT_CHECK(scanner.expect(':'));
    if (key == "descr" && !has_descr) {
      has_descr = true;
      KVAULT_TRY(header.descr, scanner.text());
    } else if (key == "fortran_order" && !has_order) {
      has_order = true;
      KVAULT_TRY(header.fortran_order, scanner.truth());
    } else if (key == "shape" && !has_shape) {
      has_shape = true;
      KVAULT_TRY(header.shape, scan_shape(scanner));
    } else {
      return scanner.wanted("descr, fortran_order and shape, once each,");
    }
    if (scanner.take(',')) continue;
    KVAULT_CHECK(scanner.expect('}'));
    break;
  }
  KVAULT_CHECK(scanner.end());
  if (has_descr && has_order && has_shape) return header;
  return scanner.wanted("descr, fortran_order and shape");
}

}  // namespace kvault::tools
