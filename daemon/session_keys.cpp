#include "daemon/session_keys.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <system_error>

#include "core/format/bytes.hpp"
#include "core/format/payload_hash.hpp"
#include "core/os/directory.hpp"
#include "core/os/file.hpp"
#include "core/os/new_file.hpp"
#include "core/os/process.hpp"
#include "core/seal/seal.hpp"
#include "core/seal/wiped_bytes.hpp"

namespace kvault {
namespace {

constexpr std::uint32_t kMagic = 0x314B564BU;             // "KVK1"
constexpr std::uint32_t kMagicOfDestroyed = 0x304B564BU;  // "KVK0"
constexpr std::uint32_t kVersion = 1;
/// Two copies, far enough from each other that one bad sector spares the other.
constexpr std::uint64_t kCopySize = 4096;
constexpr std::uint64_t kCopies = 2;
constexpr std::size_t kSealedKeySize = kSecretKeySize + kSealBytes;
constexpr std::size_t kFieldsSize = 4 + 4 + 16 + kSealedKeySize;
constexpr std::string_view kExtension = ".key";

std::vector<std::byte> context_of(const SessionId& family) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put_text("kvault session key");
  writer.put_bytes(family.bytes);
  return bytes;
}

std::vector<std::byte> serialise(const SessionId& family, std::span<const std::byte> sealed_key) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put(kMagic);
  writer.put(kVersion);
  writer.put_bytes(family.bytes);
  writer.put_bytes(sealed_key);
  writer.put(payload_checksum(std::span(bytes).first(kFieldsSize)));
  bytes.resize(kCopySize);
  return bytes;
}

Result<SecretKey> parse(std::span<const std::byte> copy, const SessionId& family,
                        const SecretKey& wrapping_key) {
  ByteReader reader(copy);
  const auto magic = reader.take<std::uint32_t>();
  const auto version = reader.take<std::uint32_t>();
  const std::span<const std::byte> named = reader.take_bytes(family.bytes.size());
  const std::span<const std::byte> sealed = reader.take_bytes(kSealedKeySize);
  const auto checksum = reader.take<std::uint64_t>();
  const bool is_whole = !reader.is_short() &&
                        checksum == payload_checksum(copy.first(kFieldsSize)) &&
                        std::equal(named.begin(), named.end(), family.bytes.begin());
  if (magic == kMagicOfDestroyed) return fail(Errc::not_found, "the key was destroyed");
  if (magic != kMagic || !is_whole) return fail(Errc::corrupt, "the file of a key is damaged");
  if (version != kVersion) {
    return fail(Errc::unknown_format,
                message("the file of a key has the version ", version, "; this build knows 1"));
  }
  auto plain = unseal(wrapping_key, sealed, context_of(family));
  // The bytes are those that were written: it is the secret of the store that is another one.
  if (!plain)
    return fail(Errc::permission, "the store's secret is not the one it was sealed under");
  Result<SecretKey> key = SecretKey::from_bytes(*plain);
  wipe(*plain);
  return key;
}

/// Overwrites and removes the file of a key; false where there is none.
Result<bool> destroy_file(const std::filesystem::path& path) {
  Result<File> file = File::open(path);
  if (!file && file.error().code == Errc::not_found) return false;
  if (!file) return tl::unexpected<Error>(file.error());
  // Where the disk writes in place this is the end of the key already.
  std::vector<std::byte> copy;
  ByteWriter(copy).put(kMagicOfDestroyed);
  copy.resize(kCopySize);
  for (std::uint64_t i = 0; i < kCopies; ++i) {
    KVAULT_CHECK(file->pwrite_all(i * kCopySize, copy));
  }
  KVAULT_CHECK(file->sync());
  KVAULT_CHECK(remove_file(path));
  return true;
}

}  // namespace

Result<SessionKeys> SessionKeys::open(const std::filesystem::path& directory,
                                      const SecretKey& wrapping_key) {
  KVAULT_CHECK(make_private_directory(directory));
  KVAULT_CHECK(sync_directory(directory.parent_path()));
  SessionKeys keys(directory, wrapping_key);
  KVAULT_CHECK(keys.look_around());
  return keys;
}

/// Counts the files, and removes what a creation that was cut short has left.
Result<> SessionKeys::look_around() {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory_, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == kExtension) {
      ++n_file_;
    } else {
      KVAULT_CHECK(remove_file(entry->path()));
    }
  }
  if (error) return fail(Errc::io, message(directory_.native(), ": ", error.message()));
  return {};
}

std::uint64_t SessionKeys::size_bytes() const { return n_file_ * kCopies * kCopySize; }

std::filesystem::path SessionKeys::path_of(const SessionId& family) const {
  return directory_ / (to_hex(family) + std::string(kExtension));
}

Result<> SessionKeys::create(const SessionId& family) {
  KVAULT_TRY(const SecretKey key, SecretKey::random());
  const std::vector<std::byte> sealed = seal(wrapping_key_, key.bytes(), context_of(family));
  const std::vector<std::byte> copy = serialise(family, sealed);
  KVAULT_TRY(NewFile file, NewFile::create(path_of(family)));
  for (std::uint64_t i = 0; i < kCopies; ++i) {
    KVAULT_CHECK(file.file().pwrite_all(i * kCopySize, copy));
  }
  KVAULT_CHECK(file.publish());
  known_[family] = key;
  ++n_file_;
  return {};
}

Result<SecretKey> SessionKeys::read(const SessionId& family) const {
  Result<File> file = File::open_read_only(path_of(family));
  if (!file && file.error().code == Errc::not_found) {
    return fail(Errc::not_found, message("the key of session ", to_hex(family), " is gone"));
  }
  if (!file) return tl::unexpected<Error>(file.error());
  std::optional<Error> worst;
  for (std::uint64_t i = 0; i < kCopies; ++i) {
    std::array<std::byte, kCopySize> copy{};
    const Result<> read = file->pread_all(i * kCopySize, copy);
    Result<SecretKey> key =
        read ? parse(copy, family, wrapping_key_) : tl::unexpected<Error>(read.error());
    if (key) return key;
    // What is certainly not damage decides over what may be: nothing is given up for it.
    const bool is_damage = key.error().code == Errc::corrupt || key.error().code == Errc::truncated;
    if (!worst || !is_damage) worst = key.error();
  }
  const Errc code = worst->code == Errc::truncated ? Errc::corrupt : worst->code;
  return fail(code, message("the key of session ", to_hex(family), ": ", worst->message));
}

Result<const SecretKey*> SessionKeys::find(const SessionId& family) {
  auto known = known_.find(family);
  if (known == known_.end()) {
    KVAULT_TRY(const SecretKey key, read(family));
    known = known_.emplace(family, key).first;
  }
  return &known->second;
}

Result<> SessionKeys::destroy(const SessionId& family) {
  known_.erase(family);
  const std::filesystem::path path = path_of(family);
  Result<bool> destroyed = destroy_file(path);
  if (!destroyed) return tl::unexpected<Error>(destroyed.error());
  if (!*destroyed) return {};
  n_file_ -= std::min<std::uint64_t>(n_file_, 1);
  return sync_directory(directory_);
}

Result<> destroy_all_keys(const std::filesystem::path& directory) {
  std::error_code error;
  if (!std::filesystem::exists(directory, error)) return {};
  KVAULT_TRY(const std::vector<std::string> names, list_files(directory));
  for (const std::string& name : names) {
    KVAULT_CHECK(destroy_file(directory / name));
  }
  return sync_directory(directory);
}

}  // namespace kvault
