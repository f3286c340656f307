#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/base/result.hpp"
#include "sdk/src/client.hpp"

namespace kvault::torture {

/// A kvaultd in the foreground on the data and the socket below a directory; killed at the end.
class Daemon {
 public:
  /// `environment`: "NAME=value", added to ours.
  Daemon(std::filesystem::path directory, const std::vector<std::string>& environment = {});
  /// Clients enter an encrypted namespace from now on.
  void encrypt() { is_encrypted_ = true; }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon() { kill(); }

  pid_t pid() const { return pid_; }
  void kill();
  /// Whether it has ended by itself; `kill()` does nothing then.
  bool has_ended();
  /// Asks it to end in order and waits; Errc::timeout.
  Result<> stop();
  /// Waits while the daemon is starting.
  Result<Client> connect(std::uint32_t patience_ms = 10'000) const;
  /// Processor time spent so far, in milliseconds; open descriptors; resident bytes.
  std::uint64_t cpu_ms() const;
  std::uint64_t n_descriptor() const;
  std::uint64_t resident_bytes() const;
  /// The first line that a sanitizer has written about it, or about one before it in the same
  /// directory; empty where there is none.
  std::string sanitizer_report() const;

 private:
  std::string path_of(const char* name) const;
  std::filesystem::path directory_;
  bool is_encrypted_ = false;
  pid_t pid_ = 0;
};

}  // namespace kvault::torture
