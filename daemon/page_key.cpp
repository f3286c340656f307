#include "daemon/page_key.hpp"

#include <sodium.h>

#include <algorithm>

#include "core/format/bytes.hpp"
#include "core/os/directory.hpp"
#include "core/os/file.hpp"

namespace kvault {
namespace {

constexpr std::string_view kDomain = "kvault page key";

}  // namespace

Result<NamespaceKey> load_or_create_namespace_key(const std::filesystem::path& path) {
  NamespaceKey key{};
  Result<File> file = File::open_read_only(path);
  if (file) {
    KVAULT_TRY(const std::uint64_t size_bytes, file->size_bytes());
    if (size_bytes != key.size()) {
      return fail(Errc::corrupt, message(path.native(), " has ", size_bytes, " bytes, not ",
                                         key.size(), "; remove it to get a new one"));
    }
    KVAULT_CHECK(file->pread_all(0, key));
    return key;
  }
  if (file.error().code != Errc::not_found) return tl::unexpected<Error>(std::move(file).error());
  // Under another name first, so that no crash leaves half a key under this one.
  const std::filesystem::path draft = path.native() + ".new";
  if (const Result<> removed = remove_file(draft);
      !removed && removed.error().code != Errc::not_found) {
    return tl::unexpected<Error>(removed.error());
  }
  randombytes_buf(key.data(), key.size());
  KVAULT_TRY(File created, File::create(draft));
  KVAULT_CHECK(created.pwrite_all(0, key));
  KVAULT_CHECK(created.sync());
  KVAULT_CHECK(rename_file(draft, path));
  KVAULT_CHECK(sync_directory(path.parent_path()));
  return key;
}

NamespaceKey page_secret(const SecretKey& key) {
  const SecretKey derived = key.derive("kvpages_");
  NamespaceKey secret{};
  std::copy(derived.bytes().begin(), derived.bytes().end(), secret.begin());
  return secret;
}

PageKey page_key(const NamespaceKey& secret, const PageKey& parent,
                 std::span<const std::byte> identity, const RecordDraft& page) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put_text(kDomain);
  writer.put(kRecordVersion);
  writer.put_bytes(parent.bytes);
  writer.put(static_cast<std::uint64_t>(identity.size()));
  writer.put_bytes(identity);
  writer.put(page.first_token);
  writer.put(page.n_token);
  for (const std::uint32_t token_id : page.meta.token_ids) writer.put(token_id);
  for (const Chunk& chunk : page.meta.chunks) {
    if (chunk.kind != ChunkKind::equaliser) continue;
    writer.put(chunk.layer);
    writer.put(chunk.checksum);
  }
  PageKey key;
  crypto_generichash(reinterpret_cast<unsigned char*>(key.bytes.data()), key.bytes.size(),
                     reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                     reinterpret_cast<const unsigned char*>(secret.data()), secret.size());
  return key;
}

}  // namespace kvault
