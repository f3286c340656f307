#include "core/os/new_file.hpp"

#include <random>
#include <string>
#include <system_error>

#include "core/os/directory.hpp"

namespace kvault {
namespace {

std::filesystem::path directory_of(const std::filesystem::path& path) {
  const std::filesystem::path parent = path.parent_path();
  return parent.empty() ? std::filesystem::path(".") : parent;
}

/// Apart from the target's name, which may be as long as a name can be.
std::string hidden_name() {
  std::random_device random;
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string name = ".kvault-new-";
  for (int i = 0; i < 16; ++i) name += kDigits[random() & 15U];
  return name;
}

}  // namespace

Result<NewFile> NewFile::create(const std::filesystem::path& target) {
  if (!target.has_filename()) {
    return fail(Errc::invalid_argument, message("'", target.native(), "' names no file"));
  }
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::symlink_status(target, error))) {
    return fail(Errc::already_exists, message(target.native(), " exists already"));
  }
  KVAULT_TRY(File file, File::create(directory_of(target) / hidden_name()));
  return NewFile(target, std::move(file));
}

NewFile::~NewFile() {
  if (file_.is_open()) static_cast<void>(remove_file(file_.path()));
}

Result<> NewFile::publish() {
  KVAULT_CHECK(file_.sync());
  KVAULT_CHECK(rename_to_free_name(file_.path(), target_));
  file_.close();
  Result<> synced = sync_directory(directory_of(target_));
  if (!synced) static_cast<void>(remove_file(target_));
  return synced;
}

}  // namespace kvault
