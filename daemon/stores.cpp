#include "daemon/stores.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

#include "core/base/assert.hpp"
#include "core/format/namespace_name.hpp"
#include "core/os/process.hpp"
#include "daemon/namespace_file.hpp"

namespace kvault {
namespace {

namespace fs = std::filesystem;

/// Of all files below a directory; what vanishes meanwhile does not count.
std::uint64_t bytes_below(const fs::path& directory) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    const std::uintmax_t size = entry->is_regular_file(ignored) ? entry->file_size(ignored) : 0;
    if (!ignored) bytes += size;
  }
  return bytes;
}

}  // namespace

Result<std::unique_ptr<Stores>> Stores::open(StoreOptions options) {
  std::unique_ptr<Stores> stores(new Stores(std::move(options)));
  Entry& shared = stores->entries_[""];
  shared.directory = stores->options_.directory;
  shared.n_client = 1;  // never closed
  KVAULT_CHECK(stores->find_namespaces());
  KVAULT_CHECK(stores->open_store(shared, std::nullopt));
  return stores;
}

Result<> Stores::find_namespaces() {
  std::error_code error;
  if (!fs::exists(folder(), error)) return {};
  KVAULT_CHECK(finish_removals(folder()));
  for (fs::directory_iterator found(folder(), error), end; !error && found != end;
       found.increment(error)) {
    const std::string name = found->path().filename().native();
    if (!check_namespace_name(name)) continue;
    Entry& entry = entries_[name];
    entry.directory = found->path();
    entry.closed_bytes = bytes_below(entry.directory);
  }
  if (error) return fail(Errc::io, message(folder().native(), ": ", error.message()));
  return {};
}

Result<> Stores::open_store(Entry& entry, const std::optional<SecretKey>& secret) {
  StoreOptions options = options_;
  options.directory = entry.directory;
  options.secret = secret;
  options.other_bytes = [this, &entry] { return bytes_but(entry); };  // entries_ never move
  KVAULT_TRY(entry.store, Store::open(std::move(options)));
  entry.number = next_number_++;
  return {};
}

std::uint64_t Stores::bytes_but(const Entry& entry) const {
  std::uint64_t bytes = 0;
  for (const auto& [name, other] : entries_) {
    if (&other != &entry) bytes += other.store ? other.store->own_bytes() : other.closed_bytes;
  }
  return bytes;
}

Stores::Entries::iterator Stores::entry_of(StoreNumber number) {
  const auto is_meant = [number](const auto& named) {
    return named.second.store && named.second.number == number;
  };
  return std::find_if(entries_.begin(), entries_.end(), is_meant);
}

Store* Stores::find(StoreNumber number) {
  const auto entry = entry_of(number);
  return entry == entries_.end() ? nullptr : entry->second.store.get();
}

Store& Stores::at(StoreNumber number) {
  Store* const store = find(number);
  KVAULT_ASSERT(store != nullptr);
  return *store;
}

Result<EnteredNamespace> Stores::enter(const NamespaceRequest& request) {
  KVAULT_CHECK(check_namespace_name(request.name));
  const fs::path directory = folder() / request.name;
  Result<bool> is_encrypted = enter_namespace(directory, request.token);
  if (!is_encrypted && is_encrypted.error().code == Errc::not_found &&
      request.create != NamespaceCreation::none) {
    const bool encrypts = request.create == NamespaceCreation::encrypted;
    KVAULT_CHECK(create_namespace(directory, request.token, encrypts));
    is_encrypted = encrypts;
  }
  if (!is_encrypted) return tl::unexpected<Error>(is_encrypted.error());
  if (request.create == NamespaceCreation::encrypted && !*is_encrypted) {
    return fail(Errc::unsupported,
                message("namespace '", request.name, "' is not encrypted, and cannot become so"));
  }
  Entry& entry = entries_[request.name];
  entry.directory = directory;
  EnteredNamespace entered{.is_encrypted = *is_encrypted};
  if (!entry.store) {
    std::optional<SecretKey> secret;
    if (*is_encrypted) {
      keep_memory_private();  // its keys lie there from now on
      secret = request.token.derive("kvsecret");
    }
    KVAULT_CHECK(open_store(entry, secret));
    entered.opened = entry.store->open_report();
  }
  ++entry.n_client;
  entered.store = entry.number;
  return entered;
}

void Stores::leave(StoreNumber number) {
  const auto found = entry_of(number);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  KVAULT_ASSERT(entry.n_client > 0);
  if (--entry.n_client > 0) return;
  entry.store.reset();
  entry.closed_bytes = bytes_below(entry.directory);
}

Result<> Stores::remove(StoreNumber number) {
  const auto found = entry_of(number);
  KVAULT_ASSERT(found != entries_.end());
  const auto& [name, entry] = *found;
  if (name.empty()) {
    return fail(Errc::invalid_argument, "the shared namespace cannot be removed");
  }
  if (entry.n_client > 1) {
    return fail(Errc::busy,
                message(entry.n_client - 1, " other clients are in namespace '", name, "'"));
  }
  const fs::path directory = entry.directory;
  entries_.erase(found);
  Result<> removed = remove_namespace(directory);
  std::error_code ignored;
  if (!removed && fs::exists(directory, ignored)) {  // nothing was done: it is closed, and stays
    Entry& left = entries_[directory.filename().native()];
    left.directory = directory;
    left.closed_bytes = bytes_below(directory);
  }
  return removed;
}

MaintainReport Stores::maintain() {
  MaintainReport all;
  if (const Result<> finished = finish_removals(folder()); !finished) {
    all.damage.push_back(message("removal of a namespace: ", finished.error().message));
  }
  for (auto& [name, entry] : entries_) {
    if (!entry.store) {
      entry.closed_bytes = bytes_below(entry.directory);  // its owner may have removed it
      continue;
    }
    const Result<MaintainReport> done = entry.store->maintain();
    if (!done) {
      // One that is sick does not keep the others from theirs.
      all.damage.push_back(message("housekeeping of '", name, "': ", done.error().message));
      continue;
    }
    const MaintainReport& report = *done;
    all.removed.insert(all.removed.end(), report.removed.begin(), report.removed.end());
    all.n_pack_deleted += report.n_pack_deleted;
    all.moved_bytes += report.moved_bytes;
    all.damage.insert(all.damage.end(), report.damage.begin(), report.damage.end());
  }
  return all;
}

std::vector<NamespaceUse> Stores::uses() const {
  std::vector<NamespaceUse> uses;
  for (const auto& [name, entry] : entries_) {
    const std::uint64_t bytes = entry.store ? entry.store->own_bytes() : entry.closed_bytes;
    const std::uint32_t n_client = name.empty() ? entry.n_client - 1 : entry.n_client;
    uses.push_back({name, bytes, n_client});
  }
  return uses;
}

}  // namespace kvault
