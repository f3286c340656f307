#include <sodium.h>

#include <algorithm>
#include <system_error>

#include "core/os/directory.hpp"
#include "core/os/process.hpp"
#include "daemon/catalog_check.hpp"
#include "daemon/dead_packs.hpp"
#include "daemon/disk_store.hpp"
#include "daemon/rebuild.hpp"

namespace kvault {
namespace {

constexpr std::uint64_t kPackSizeMin = 2 * kPackHeaderSize;
constexpr std::uint64_t kQuotaMin = std::uint64_t{4} << 20U;

Result<> check_options(const StoreOptions& options) {
  if (!options.directory.is_absolute()) {
    return fail(Errc::invalid_argument, message("the store's directory '",
                                                options.directory.native(), "' is not absolute"));
  }
  if (options.pack_size_bytes_max < kPackSizeMin || options.n_pending_record_max == 0) {
    return fail(Errc::invalid_argument,
                message("packs of ", options.pack_size_bytes_max, " bytes (at least ", kPackSizeMin,
                        "), ", options.n_pending_record_max, " pending records"));
  }
  if (options.quota_bytes > 0 && options.quota_bytes < kQuotaMin) {
    return fail(Errc::invalid_argument, message("a quota of ", options.quota_bytes,
                                                " bytes; the least is ", kQuotaMin, ", 0 is none"));
  }
  return {};
}

Result<> make_directories(const std::filesystem::path& directory) {
  std::error_code ignored;
  const bool is_new = !std::filesystem::exists(directory, ignored);
  KVAULT_CHECK(make_private_directory(directory));
  KVAULT_CHECK(make_private_directory(directory / "packs"));
  KVAULT_CHECK(sync_directory(directory));
  // Above a home directory we may not be allowed to; then the directory is as durable as its maker.
  if (is_new) static_cast<void>(sync_directory(directory.parent_path()).has_value());
  return {};
}

/// Renames the catalog and what SQLite keeps beside it, so that nobody opens it again. The catalog
/// goes first, and for good: without its log it would be sound, old and believed.
Result<std::filesystem::path> quarantine(const std::filesystem::path& path) {
  std::filesystem::path target;
  std::error_code ignored;
  for (std::uint32_t number = 1; target.empty() || std::filesystem::exists(target, ignored);
       ++number) {
    target = message(path.native(), ".damaged-", number);
  }
  for (const std::string_view suffix : {"", "-wal", "-shm"}) {
    const Result<> renamed =
        rename_file(path.native() + std::string(suffix), target.native() + std::string(suffix));
    if (!renamed && renamed.error().code != Errc::not_found) {
      return tl::unexpected<Error>(renamed.error());
    }
    KVAULT_CHECK(sync_directory(path.parent_path()));
  }
  return target;
}

/// Sessions that are older now than the catalog before said, or gone.
void report_losses(const std::vector<SessionRow>& before, const Rebuilt& rebuilt, bool is_sealed,
                   OpenReport& report) {
  for (const SessionRow& row : before) {
    const auto found = std::find_if(rebuilt.sessions.begin(), rebuilt.sessions.end(),
                                    [&](const SessionState& s) { return s.id == row.id; });
    if (found != rebuilt.sessions.end() && found->commit_number >= row.commit_number) continue;
    report.damage.push_back(
        message("session ", is_sealed ? to_hex(row.id) : message("'", row.name, "'"),
                " was at commit ", row.commit_number, "; ",
                found == rebuilt.sessions.end()
                    ? std::string("nothing of it can be restored")
                    : message("commit ", found->commit_number, " is the newest whole one")));
  }
}

Result<> fill_from_packs(Catalog& catalog, const PackSet& packs, const NamespaceKey& secret,
                         const std::vector<SessionRow>& rows_before, OpenReport& report) {
  // What a killed process wrote may still be only in memory; the catalog will vouch for it.
  KVAULT_CHECK(packs.sync_all());
  KVAULT_TRY(Rebuilt rebuilt, rebuild_from_packs(packs, secret));
  report.damage = std::move(rebuilt.damage);
  report_losses(rows_before, rebuilt, packs.keys() != nullptr, report);
  HeldPacks held;
  if (!report.damage.empty()) {
    for (const auto& [name, entry] : packs.entries()) {
      std::uint32_t& number = name.kind == PackKind::log ? held.log_number : held.pages_number;
      number = std::max(number, name.number + 1);
    }
  }
  return catalog.fill(rebuilt.sessions, rebuilt.epoch, held);
}

/// What a store keeps to itself.
struct Secrets {
  NamespaceKey page_secret{};
  std::shared_ptr<SessionKeys> keys{};  ///< null where it is not encrypted
  CatalogSeal catalog_seal{};
};

/// A store is encrypted from its first opening on, or never: its file namespace.key, or the folder
/// of keys, says which.
Result<Secrets> open_secrets(const std::filesystem::path& directory,
                             const std::optional<SecretKey>& secret) {
  const std::filesystem::path page_secret_path = directory / "namespace.key";
  const std::filesystem::path keys_path = directory / kKeysFolder;
  Secrets secrets;
  std::error_code ignored;
  if (!secret) {
    if (std::filesystem::exists(keys_path, ignored)) {
      return fail(Errc::permission, message(directory.native(), " is encrypted: it needs its key"));
    }
    KVAULT_TRY(secrets.page_secret, load_or_create_namespace_key(page_secret_path));
    return secrets;
  }
  if (std::filesystem::exists(page_secret_path, ignored)) {
    return fail(Errc::unsupported,
                message(directory.native(), " is not encrypted, and cannot become so"));
  }
  secrets.page_secret = page_secret(*secret);
  KVAULT_TRY(SessionKeys keys, SessionKeys::open(keys_path, secret->derive("kvkeys__")));
  secrets.keys = std::make_shared<SessionKeys>(std::move(keys));
  secrets.catalog_seal = CatalogSeal(secret->derive("kvnames_"), secrets.keys);
  return secrets;
}

/// What lies at `path`; filled from the packs where that is nothing. Errc::corrupt: put it aside.
Result<Catalog> open_or_fill(const std::filesystem::path& path, const PackSet& packs,
                             const Secrets& secrets, OpenReport& report) {
  std::error_code ignored;
  const bool was_missing = !std::filesystem::exists(path, ignored);
  KVAULT_TRY(Catalog catalog, Catalog::open(path, secrets.catalog_seal));
  if (!catalog.is_empty()) return catalog;
  KVAULT_CHECK(sync_directory(path.parent_path()));
  report.is_catalog_rebuilt = !packs.entries().empty();
  if (report.is_catalog_rebuilt) {
    report.rebuild_reason = was_missing ? "the catalog is missing" : "the catalog is empty";
  }
  KVAULT_CHECK(fill_from_packs(catalog, packs, secrets.page_secret, {}, report));
  return catalog;
}

/// The catalog, rebuilt from the packs where it is missing, damaged or does not fit them.
Result<Catalog> open_catalog(const std::filesystem::path& path, const PackSet& packs,
                             const Secrets& secrets, OpenReport& report) {
  std::vector<SessionRow> rows_before;
  {
    Result<Catalog> opened = open_or_fill(path, packs, secrets, report);
    Result<std::string> mismatch = std::string();
    const bool is_outdated = opened && opened->is_outdated();
    if (is_outdated) {
      mismatch = std::string("an older version of kvaultd wrote the catalog");
    } else if (opened && !report.is_catalog_rebuilt) {
      mismatch = find_mismatch(*opened, packs);
    }
    const Error* error = !opened ? &opened.error() : !mismatch ? &mismatch.error() : nullptr;
    if (error != nullptr && error->code != Errc::corrupt) return tl::unexpected<Error>(*error);
    if (error == nullptr && mismatch->empty()) return opened;
    report.is_catalog_rebuilt = true;
    report.rebuild_reason = error != nullptr ? error->message : *mismatch;
    if (error == nullptr && !is_outdated) {
      if (Result<std::vector<SessionRow>> rows = opened->list("", UINT32_MAX)) rows_before = *rows;
    }
  }
  KVAULT_TRY(report.quarantined_catalog, quarantine(path));
  KVAULT_TRY(Catalog catalog, Catalog::open(path, secrets.catalog_seal));
  KVAULT_CHECK(sync_directory(path.parent_path()));
  KVAULT_CHECK(fill_from_packs(catalog, packs, secrets.page_secret, rows_before, report));
  return catalog;
}

/// So many packs at least share the quota: two of them are kept free for compaction.
constexpr std::uint64_t kPacksPerQuota = 16;

std::uint64_t pack_size_for(const StoreOptions& options) {
  if (options.quota_bytes == 0) return options.pack_size_bytes_max;
  const std::uint64_t share = options.quota_bytes / kPacksPerQuota;
  return std::clamp(share, kPackSizeMin, options.pack_size_bytes_max);
}

}  // namespace

Result<std::unique_ptr<Store>> Store::open(StoreOptions options) {
  KVAULT_CHECK(check_options(options));
  if (sodium_init() < 0) return fail(Errc::internal, "libsodium does not start");
  const std::filesystem::path directory = options.directory;
  KVAULT_CHECK(make_directories(directory));
  KVAULT_TRY(FileLock lock, FileLock::acquire(directory / "lock"));
  KVAULT_TRY(Secrets secrets, open_secrets(directory, options.secret));
  options.pack_size_bytes_max = pack_size_for(options);
  KVAULT_TRY(PackSet packs, PackSet::open({.directory = directory / "packs",
                                           .pack_size_bytes_max = options.pack_size_bytes_max,
                                           .on_step = options.on_step,
                                           .keys = secrets.keys}));
  OpenReport report;
  KVAULT_TRY(Catalog catalog, open_catalog(directory / kCatalogFile, packs, secrets, report));
  KVAULT_TRY(const std::uint64_t epoch, catalog.begin_epoch());
  packs.set_epoch(epoch);
  KVAULT_TRY(report.n_pack_deleted, delete_dead_packs(catalog, packs));
  KVAULT_TRY(const CatalogTotals totals, catalog.totals());
  report.n_session = totals.n_session;
  auto store = std::make_unique<DiskStore>(DiskStore::Parts{.options = std::move(options),
                                                            .lock = std::move(lock),
                                                            .key = secrets.page_secret,
                                                            .keys = std::move(secrets.keys),
                                                            .packs = std::move(packs),
                                                            .catalog = std::move(catalog),
                                                            .report = std::move(report),
                                                            .epoch = epoch});
  store->finish_removals();
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace kvault
