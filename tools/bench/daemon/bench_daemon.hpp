#pragma once

#include <filesystem>
#include <utility>

#include "core/base/result.hpp"
#include "sdk/src/client.hpp"

namespace kvault::tools {

/// A kvaultd of our own over a new folder; both are gone at the end.
class BenchDaemon {
 public:
  /// The folder is made in `parent`. kvaultd empty: $KVAULTD, this program's build, PATH.
  /// Encrypted: its clients are in an encrypted namespace.
  static Result<BenchDaemon> start(const std::filesystem::path& parent,
                                   const std::filesystem::path& kvaultd, bool is_encrypted);
  BenchDaemon(BenchDaemon&& other) noexcept
      : folder_(std::exchange(other.folder_, {})),
        kvaultd_(std::move(other.kvaultd_)),
        name_space_(std::move(other.name_space_)) {}
  BenchDaemon& operator=(BenchDaemon&&) = delete;
  ~BenchDaemon();

  const std::filesystem::path& folder() const { return folder_; }
  Result<Client> connect() const { return Client::connect(options(true)); }

 private:
  BenchDaemon(std::filesystem::path folder, std::filesystem::path kvaultd)
      : folder_(std::move(folder)), kvaultd_(std::move(kvaultd)) {}
  ClientOptions options(bool auto_start) const;

  std::filesystem::path folder_;
  std::filesystem::path kvaultd_;
  NamespaceOptions name_space_;
};

}  // namespace kvault::tools
