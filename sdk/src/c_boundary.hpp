#pragma once

#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include "core/base/result.hpp"
#include "kvault/kvault.h"

namespace kvault::c {

/// Writes an Error where the C caller asked for it, and returns its status.
kvault_status report(const Error& error, kvault_error* target) noexcept;
/// The success of a call that wants its error record cleared.
kvault_status report_ok(kvault_error* target) noexcept;

/// Runs `body` (returning Result<>) so that neither an Error nor an exception passes the C border.
template <class Body>
kvault_status guard(kvault_error* error, Body&& body) noexcept try {
  Result<> result = std::forward<Body>(body)();
  return result ? report_ok(error) : report(result.error(), error);
} catch (const std::bad_alloc&) {
  return report({Errc::out_of_memory, "out of memory", __FILE__, __LINE__}, error);
} catch (const std::exception& exception) {
  return report({Errc::internal, exception.what(), __FILE__, __LINE__}, error);
}

/// A copy of a caller's option struct in which fields the caller's header did not know are zero.
/// invalid_argument where it is NULL, unsupported where it is larger than this build's and not zero
/// beyond; errors call it by its name.
template <class Options>
Result<Options> read_options(const Options* options, const char* name = "options") {
  if (options == nullptr) return fail(Errc::invalid_argument, message(name, " are NULL"));
  const std::size_t given_bytes = options->struct_size;
  if (given_bytes < sizeof(options->struct_size)) {
    return fail(Errc::invalid_argument,
                message(name, ".struct_size is ", given_bytes, "; use the *_INIT macro"));
  }
  const auto* const bytes = reinterpret_cast<const unsigned char*>(options);
  for (std::size_t i = sizeof(Options); i < given_bytes; ++i) {
    if (bytes[i] != 0) {
      return fail(Errc::unsupported,
                  message(name, " of ", given_bytes, " bytes set a field this version (",
                          sizeof(Options), " bytes) does not know"));
    }
  }
  Options copy{};
  std::memcpy(&copy, options, given_bytes < sizeof(Options) ? given_bytes : sizeof(Options));
  return copy;
}

template <class Pointer>
Result<> require(const Pointer* pointer, const char* name) {
  if (pointer == nullptr) return fail(Errc::invalid_argument, message(name, " is NULL"));
  return {};
}

}  // namespace kvault::c
