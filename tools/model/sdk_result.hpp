#pragma once

#include <algorithm>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/base/result.hpp"
#include "kvault/kvault.hpp"

namespace kvault::tools {

/// What the public interface answered, as a Result of this repository; `what` leads the message.
template <class T>
[[nodiscard]] Result<T> from_sdk(sdk::Outcome<T> outcome, std::string_view what,
                                 const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (!outcome.is_ok()) {
    const sdk::Error& error = outcome.error();
    const std::span<const char> text(error.message);
    const std::string_view sentence(text.data(), std::ranges::find(text, '\0') - text.begin());
    return fail(errc_from_number(static_cast<int>(error.status)), message(what, ": ", sentence),
                file, line);
  }
  if constexpr (std::is_void_v<T>) {
    return {};
  } else {
    return std::move(outcome).value();
  }
}

}  // namespace kvault::tools
