#pragma once

#include <cstdint>
#include <string>

#include "core/base/result.hpp"
#include "core/cache/cache_options.hpp"
#include "sdk/src/client.hpp"

namespace kvault::tools {

/// Stores a session of an 8B-class model (32 layers, 8 kv heads of 128, k4v4) whose blocks are
/// random: what an encoder might have written, in a fraction of its time. Page 0 and the tail are
/// raw, as ever.
Result<client::SessionInfo> store_synthetic_session(Client& client, const std::string& name,
                                                    std::uint64_t n_token);

/// How such a session's cache is opened.
CacheOptions synthetic_cache_options();
SessionDescription describe_synthetic(const std::string& name);

}  // namespace kvault::tools
