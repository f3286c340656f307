#include "daemon/namespace_file.hpp"

#include <array>
#include <string_view>
#include <system_error>
#include <vector>

#include "core/format/bytes.hpp"
#include "core/format/payload_hash.hpp"
#include "core/os/directory.hpp"
#include "core/os/file.hpp"
#include "core/os/new_file.hpp"
#include "core/os/process.hpp"
#include "daemon/session_keys.hpp"

namespace kvault {
namespace {

constexpr std::uint32_t kMagic = 0x314E564BU;  // "KVN1"
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kFieldsSize = 4 + 2 + 2 + kSecretKeySize;
constexpr std::size_t kFileSize = kFieldsSize + 8;
constexpr std::string_view kPurpose = "kvcheck_";

/// What the name of a namespace ends in while it is removed: no namespace can be called that.
constexpr std::string_view kRemoved = "~removed";

Result<> fail_error(const std::filesystem::path& path, const std::error_code& error) {
  return fail(Errc::io, message(path.native(), ": ", error.message()));
}

/// Keys first: nothing that is left after a crash can be read.
Result<> destroy(const std::filesystem::path& directory) {
  KVAULT_CHECK(destroy_all_keys(directory / kKeysFolder));
  std::error_code error;
  std::filesystem::remove_all(directory, error);
  if (error) return fail_error(directory, error);
  return sync_directory(directory.parent_path());
}

std::filesystem::path file_of(const std::filesystem::path& directory) {
  return directory / "namespace";
}

}  // namespace

Result<> create_namespace(const std::filesystem::path& directory, const SecretKey& token,
                          bool is_encrypted) {
  KVAULT_CHECK(make_private_directory(directory.parent_path()));
  KVAULT_CHECK(sync_directory(directory.parent_path().parent_path()));
  KVAULT_CHECK(make_private_directory(directory));
  KVAULT_CHECK(sync_directory(directory.parent_path()));
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put(kMagic);
  writer.put(kVersion);
  writer.put(static_cast<std::uint16_t>(is_encrypted ? 1 : 0));
  writer.put_bytes(token.derive(kPurpose).bytes());
  writer.put(payload_checksum(bytes));
  KVAULT_TRY(NewFile file, NewFile::create(file_of(directory)));
  KVAULT_CHECK(file.file().pwrite_all(0, bytes));
  return file.publish();
}

Result<bool> enter_namespace(const std::filesystem::path& directory, const SecretKey& token) {
  const std::string name = directory.filename().native();
  Result<File> file = File::open_read_only(file_of(directory));
  if (!file && file.error().code == Errc::not_found) {
    return fail(Errc::not_found, message("there is no namespace '", name, "'"));
  }
  if (!file) return tl::unexpected<Error>(file.error());
  std::array<std::byte, kFileSize> bytes{};
  KVAULT_CHECK(file->pread_all(0, bytes));
  ByteReader reader(bytes);
  const auto magic = reader.take<std::uint32_t>();
  const auto version = reader.take<std::uint16_t>();
  const auto flags = reader.take<std::uint16_t>();
  KVAULT_TRY(const SecretKey check, SecretKey::from_bytes(reader.take_bytes(kSecretKeySize)));
  const auto checksum = reader.take<std::uint64_t>();
  if (magic != kMagic || checksum != payload_checksum(std::span(bytes).first(kFieldsSize))) {
    return fail(Errc::corrupt, message("the file of namespace '", name, "' is damaged"));
  }
  if (version != kVersion || flags > 1) {
    return fail(Errc::unknown_format, message("namespace '", name, "' has the version ", version,
                                              " and flags ", flags, "; this build knows 1"));
  }
  if (token.derive(kPurpose) == check) return flags == 1;
  return fail(Errc::permission, message("the token is not that of namespace '", name, "'"));
}

Result<> remove_namespace(const std::filesystem::path& directory) {
  std::filesystem::path removed = directory;
  removed += kRemoved;
  std::error_code error;
  // Of an older namespace of that name; its removal was cut short.
  if (std::filesystem::exists(removed, error)) KVAULT_CHECK(destroy(removed));
  if (error) return fail_error(removed, error);
  KVAULT_CHECK(rename_file(directory, removed));
  KVAULT_CHECK(sync_directory(directory.parent_path()));
  return destroy(removed);
}

Result<> finish_removals(const std::filesystem::path& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> begun;
  if (!std::filesystem::exists(folder, error)) return {};
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().native().ends_with(kRemoved)) begun.push_back(entry->path());
  }
  if (error) return fail_error(folder, error);
  for (const std::filesystem::path& directory : begun) KVAULT_CHECK(destroy(directory));
  return {};
}

}  // namespace kvault
