#pragma once

#include <filesystem>
#include <utility>

#include "core/base/result.hpp"

namespace kvault {

/// A shared library opened at run time; closed with the object, so what was found in it must not
/// outlive it. Move-only.
class SharedLibrary {
 public:
  /// Errc::not_found where the loader refuses it; the message is the loader's.
  static Result<SharedLibrary> open(const std::filesystem::path& path);

  SharedLibrary() = default;
  SharedLibrary(SharedLibrary&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  SharedLibrary& operator=(SharedLibrary&& other) noexcept;
  ~SharedLibrary();

  /// A function in the library or in one it needs, or null. `Function` is a pointer to a function.
  template <class Function>
  Function find(const char* name) const {
    return reinterpret_cast<Function>(find_address(name));
  }

 private:
  explicit SharedLibrary(void* handle) : handle_(handle) {}
  void* find_address(const char* name) const;

  void* handle_ = nullptr;
};

}  // namespace kvault
