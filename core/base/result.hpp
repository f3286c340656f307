#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <type_traits>
#include <utility>

namespace kvault {

/// Why something failed. Names, numbers and sentences: core/base/errors.inc.
enum class Errc : std::uint16_t {
#define KVAULT_ERROR(name, NAME, number, text) name = number,
#include "core/base/errors.inc"
#undef KVAULT_ERROR
};

/// The name of a code as written in errors.inc, e.g. "shape_mismatch".
std::string_view name_of(Errc code) noexcept;
/// The sentence of a code, e.g. "shapes do not fit together".
std::string_view text_of(Errc code) noexcept;
/// The code with this number, or Errc::internal where none has it.
Errc errc_from_number(int number) noexcept;

/// A failure: what, in words with the offending numbers, and where it was noticed.
struct Error {
  Errc code = Errc::internal;
  std::string message;
  const char* file = "";
  int line = 0;
};

/// A value or an Error. Errors of the outside world travel in it; a broken precondition inside
/// kvault is KVAULT_ASSERT's affair. Member names are those of std::expected.
template <class T = void>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using Base = tl::expected<T, Error>;
  using Base::Base;
  Result(Base&& base) : Base(std::move(base)) {}
};

/// An Error to return. `message` says what was wrong with which number.
[[nodiscard]] inline tl::unexpected<Error> fail(Errc code, std::string message,
                                                const char* file = __builtin_FILE(),
                                                int line = __builtin_LINE()) {
  return tl::unexpected<Error>(Error{code, std::move(message), file, line});
}

/// Joins strings and numbers into a message: message("K has ", n, " rows").
template <class... Parts>
[[nodiscard]] std::string message(const Parts&... parts) {
  std::string text;
  const auto add = [&text](const auto& part) {
    if constexpr (std::is_convertible_v<decltype(part), std::string_view>) {
      text += std::string_view(part);
    } else {
      text += std::to_string(part);
    }
  };
  (add(parts), ...);
  return text;
}

}  // namespace kvault

#define KVAULT_CONCAT_(a, b) a##b
#define KVAULT_CONCAT(a, b) KVAULT_CONCAT_(a, b)
#define KVAULT_TRY_(slot, target, expression)                                 \
  auto slot = (expression);                                                   \
  if (!slot) return tl::unexpected<::kvault::Error>(std::move(slot).error()); \
  target = std::move(*slot)

/// KVAULT_TRY(auto x, f()): x is f()'s value, or the error is returned from here.
#define KVAULT_TRY(target, expression) \
  KVAULT_TRY_(KVAULT_CONCAT(kvault_try_, __LINE__), target, expression)

/// KVAULT_CHECK(f()): goes on where f() succeeded, or returns its error from here.
#define KVAULT_CHECK(expression)                                                      \
  do {                                                                                \
    auto kvault_check_result = (expression);                                          \
    if (!kvault_check_result)                                                         \
      return tl::unexpected<::kvault::Error>(std::move(kvault_check_result).error()); \
  } while (false)
