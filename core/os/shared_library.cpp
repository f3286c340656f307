#include "core/os/shared_library.hpp"

#include <dlfcn.h>

namespace kvault {

Result<SharedLibrary> SharedLibrary::open(const std::filesystem::path& path) {
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle != nullptr) return SharedLibrary(handle);
  const char* reason = ::dlerror();
  return fail(Errc::not_found, message("cannot load ", path.native(), ": ",
                                       reason != nullptr ? reason : "no reason given"));
}

SharedLibrary& SharedLibrary::operator=(SharedLibrary&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

SharedLibrary::~SharedLibrary() {
  if (handle_ != nullptr) ::dlclose(handle_);
}

void* SharedLibrary::find_address(const char* name) const {
  return handle_ == nullptr ? nullptr : ::dlsym(handle_, name);
}

}  // namespace kvault
