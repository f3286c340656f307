#include "core/os/system_error.hpp"

#include <cerrno>
#include <system_error>

namespace kvault {
namespace {

Errc code_of(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return Errc::disk_full;
    case EACCES:
    case EPERM:
    case EROFS:
      return Errc::permission;
    case ENOENT:
      return Errc::not_found;
    case EEXIST:
      return Errc::already_exists;
    case ENOMEM:
      return Errc::out_of_memory;
    default:
      return Errc::io;
  }
}

}  // namespace

tl::unexpected<Error> fail_file(std::string_view action, const std::filesystem::path& path,
                                int error_number, const char* file, int line) {
  const std::string text = std::generic_category().message(error_number);
  return fail(
      code_of(error_number),
      message("cannot ", action, " ", path.native(), ": ", text, " (errno ", error_number, ")"),
      file, line);
}

}  // namespace kvault
