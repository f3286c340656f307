#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/session_key.hpp"
#include "sdk/src/client_types.hpp"

namespace kvault {

/// A record as it is sent to an encrypted namespace: every chunk sealed, and in its new place.
class SealedUpload {
 public:
  /// Errc::invalid_argument where draft and pieces do not fit each other.
  static Result<SealedUpload> create(const SessionKey& key, const client::RecordUpload& plain);
  SealedUpload(SealedUpload&&) noexcept = default;  // never copied: the pieces lie in the chunks
  SealedUpload& operator=(SealedUpload&&) noexcept = default;

  /// Borrows.
  client::RecordUpload upload() const { return {draft_, pieces_}; }

 private:
  SealedUpload() = default;
  RecordDraft draft_;
  std::vector<std::vector<std::byte>> chunks_;
  std::vector<std::span<const std::byte>> pieces_;
};

}  // namespace kvault
