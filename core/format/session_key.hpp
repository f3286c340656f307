#pragma once

#include "core/base/result.hpp"
#include "core/format/session_id.hpp"
#include "core/seal/secret_key.hpp"

namespace kvault {

/// What seals a session and all its forks: its family, named by the session it began with.
struct SessionKey {
  SessionId family{};
  SecretKey key{};
};

/// Where the keys of sealed records come from.
class KeyFinder {
 public:
  virtual ~KeyFinder() = default;
  /// Errc::not_found where there is none: it was destroyed; corrupt, and errors of the machine. The
  /// key lives as long as the finder, or until the family is removed.
  virtual Result<const SecretKey*> find(const SessionId& family) = 0;

 protected:
  KeyFinder() = default;
  KeyFinder(const KeyFinder&) = default;
  KeyFinder& operator=(const KeyFinder&) = default;
};

/// A finder that knows one family.
class OneKey final : public KeyFinder {
 public:
  explicit OneKey(SessionKey key) : key_(key) {}
  Result<const SecretKey*> find(const SessionId& family) override {
    if (family == key_.family) return &key_.key;
    return fail(Errc::not_found, message("sealed for the session ", to_hex(family), ", not for ",
                                         to_hex(key_.family)));
  }

 private:
  SessionKey key_;
};

}  // namespace kvault
