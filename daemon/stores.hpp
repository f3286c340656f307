#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/format/namespace_name.hpp"
#include "daemon/store.hpp"

namespace kvault {

/// Names an opening of a store. Numbers are never used twice.
using StoreNumber = std::uint64_t;
/// The store of the shared namespace, open as long as the daemon runs.
inline constexpr StoreNumber kSharedStore = 0;

/// What a client says of the namespace it wants.
struct NamespaceRequest {
  std::string name;
  SecretKey token;
  /// For one that does not exist; one that does is entered as it is, unless it is plain where it
  /// should be encrypted.
  NamespaceCreation create = NamespaceCreation::none;
};

struct EnteredNamespace {
  StoreNumber store = kSharedStore;
  bool is_encrypted = false;
  std::optional<OpenReport> opened{};  ///< where this call opened the store
};

/// A namespace as an onlooker sees it.
struct NamespaceUse {
  std::string name;  ///< "" for the shared one
  std::uint64_t size_bytes = 0;
  std::uint32_t n_client = 0;
};

/// The stores of all namespaces: one for the shared one, in the data directory itself, and one for
/// every other namespace, below it in namespaces/<name>, open as long as a client is in it. The
/// quota holds for all of them together. One thread at a time.
class Stores {
 public:
  /// Opens the shared store; `options` are those of the others too, but for the directory.
  static Result<std::unique_ptr<Stores>> open(StoreOptions options);
  Stores(const Stores&) = delete;
  Stores& operator=(const Stores&) = delete;

  /// pre: entered and not left
  Store& at(StoreNumber number);
  /// Null once it is closed.
  Store* find(StoreNumber number);

  /// Errc::not_found, permission, unsupported (not encrypted), and those of Store::open(). Every
  /// success is answered by one leave(); the last one closes the store.
  Result<EnteredNamespace> enter(const NamespaceRequest& request);
  void leave(StoreNumber number);
  /// Closes the store and removes the namespace, durably; of an encrypted one all keys are
  /// destroyed first. Errc::busy while more than one is in it; invalid_argument for the shared one.
  /// After any other error the store may be closed: find() tells.
  Result<> remove(StoreNumber number);

  /// Store::maintain() of all that are open, and the end of removals that were cut short; an error
  /// is a sentence of `damage`.
  MaintainReport maintain();
  std::vector<NamespaceUse> uses() const;

 private:
  struct Entry {
    std::filesystem::path directory;
    std::unique_ptr<Store> store;  ///< null: closed
    StoreNumber number = 0;
    std::uint32_t n_client = 0;
    std::uint64_t closed_bytes = 0;  ///< what its files take while it is closed
  };
  using Entries = std::map<std::string, Entry>;

  explicit Stores(StoreOptions options) : options_(std::move(options)) {}
  std::filesystem::path folder() const { return options_.directory / "namespaces"; }
  Entries::iterator entry_of(StoreNumber number);
  Result<> find_namespaces();
  Result<> open_store(Entry& entry, const std::optional<SecretKey>& secret);
  std::uint64_t bytes_but(const Entry& entry) const;

  StoreOptions options_;
  Entries entries_;  ///< by name; "" is the shared one
  StoreNumber next_number_ = kSharedStore;
};

}  // namespace kvault
