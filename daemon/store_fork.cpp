#include <sodium.h>

#include <algorithm>
#include <set>

#include "daemon/clock.hpp"
#include "daemon/disk_store.hpp"
#include "daemon/manifest.hpp"

namespace kvault {
namespace {

/// Sessions of one prefix that are looked at more closely: those used last.
constexpr std::uint64_t kCandidatesMax = 16;

/// How many layers of a page's record are sliding windows that have their rows there.
bool has_all_windows(const ModelShape& shape, const PayloadMeta& meta) {
  for (std::uint32_t layer = 0; layer < shape.layers.size(); ++layer) {
    if (shape.layers[layer].kind != LayerKind::sliding_window) continue;
    const bool is_there = std::any_of(meta.chunks.begin(), meta.chunks.end(), [&](const Chunk& c) {
      return c.kind == ChunkKind::segment && c.layer == layer;
    });
    if (!is_there) return false;
  }
  return true;
}

/// The prefixes of 1, 2, ... whole pages, as far as the tokens can be matched.
std::vector<PrefixKey> prefixes_of(const NamespaceKey& secret, const PrefixKey& root,
                                   std::span<const std::uint32_t> token_ids) {
  std::vector<PrefixKey> prefixes;
  std::optional<PrefixKey> prefix = root;
  for (std::size_t end = kPageTokens; end <= token_ids.size(); end += kPageTokens) {
    prefix = next_prefix(secret, prefix, token_ids.subspan(end - kPageTokens, kPageTokens));
    if (!prefix) break;
    prefixes.push_back(*prefix);
  }
  return prefixes;
}

}  // namespace

Result<PayloadMeta> DiskStore::payload_meta_of(const LiveRecord& live) {
  std::vector<std::byte> head;
  KVAULT_TRY(const RecordHeader header,
             packs().read_head(place_of(live).pack, live.offset_bytes, head));
  return parse_payload_meta(header, head, packs().keys());
}

Result<KeptPosition> DiskStore::kept_position_of(const SessionState& state, std::uint64_t n_token) {
  const auto has_window_rows = [&](std::uint64_t page) -> Result<bool> {
    for (const LiveRecord& live : state.meta.records) {
      if (live.kind != RecordKind::page || live.first_token != page * kPageTokens) continue;
      KVAULT_TRY(const PayloadMeta meta, payload_meta_of(live));
      return has_all_windows(state.meta.description.shape, meta);
    }
    return false;
  };
  return kept_position(state.meta, n_token, has_window_rows);
}

/// What a request that is asked again has made; its source may have moved on or be gone.
ForkInfo DiskStore::fork_as_made(const SessionInfo& fork, std::uint64_t n_token) {
  ForkInfo made{fork, {}};
  made.kept.n_token = fork.attributes.forked_at_token;
  made.kept.n_page = fork.n_page;
  made.kept.exact = false;
  const Result<SessionState> source = catalog().load(fork.attributes.forked_from);
  if (!source || n_token > source->meta.n_token) return made;
  const Result<KeptPosition> now = kept_position_of(*source, n_token);
  made.kept.exact = now && now->exact && now->n_token == made.kept.n_token;
  return made;
}

Result<ForkInfo> DiskStore::fork_session(const SessionId& source, std::uint64_t n_token,
                                         std::string name, const RequestKey& request_key) {
  KVAULT_CHECK(check_session_name(name));
  KVAULT_TRY(const auto made, made_before(name, request_key));
  if (made) return fork_as_made(*made, n_token);
  KVAULT_TRY(const SessionState from, catalog().load(source));
  if (n_token > from.meta.n_token) {
    return fail(Errc::out_of_range, message("session '", from.meta.description.name, "' has ",
                                            from.meta.n_token, " tokens, not ", n_token));
  }
  KVAULT_TRY(const KeptPosition kept, kept_position_of(from, n_token));
  const CommitRequest request{
      .n_token = kept.n_token, .kept_n_token = kept.n_token, .kept_n_page = kept.n_page};
  SessionState fork = from;
  KVAULT_TRY(fork.meta, next_manifest(from.meta, request, {}));
  randombytes_buf(fork.id.bytes.data(), fork.id.bytes.size());
  fork.commit_number = 0;
  fork.meta.description.name = std::move(name);
  fork.meta.created_at_s = fork.meta.committed_at_s = seconds_since_1970();
  fork.meta.attributes = {
      .forked_from = source, .forked_at_token = kept.n_token, .made_by = request_key};
  fork.place = {.transaction = next_transaction_++};
  KVAULT_CHECK(write_commits({&fork, 1}, {}));
  KVAULT_CHECK(before_catalog());
  KVAULT_CHECK(catalog().insert(fork));
  used_at_s_[source] = fork.meta.created_at_s;
  KVAULT_TRY(SessionInfo info, find_session(fork.id));
  return ForkInfo{std::move(info), kept};
}

/// How far `token_ids` go with a session whose first n_page pages are known to be equal.
Result<MatchInfo> DiskStore::match_with(const SessionId& id,
                                        std::span<const std::uint32_t> token_ids,
                                        std::uint64_t n_page) {
  KVAULT_TRY(const SessionState state, catalog().load(id));
  MatchInfo match;
  match.n_token = n_page * kPageTokens;
  // Beyond the pages only the tail can go on; within the next page no layer could stop.
  for (const LiveRecord& live : state.meta.records) {
    if (n_page != state.meta.n_page || live.kind != RecordKind::tail) continue;
    const std::uint64_t end = live.first_token + live.n_token;
    if (live.first_token > match.n_token || end <= match.n_token) continue;
    KVAULT_TRY(const PayloadMeta meta, payload_meta_of(live));
    while (match.n_token < std::min<std::uint64_t>(end, token_ids.size())) {
      const std::uint32_t stored = meta.token_ids[match.n_token - live.first_token];
      if (stored == kOpaqueToken || stored != token_ids[match.n_token]) break;
      ++match.n_token;
    }
    if (match.n_token < end) break;
  }
  KVAULT_TRY(match.kept, kept_position_of(state, match.n_token));
  KVAULT_TRY(match.session, find_session(id));
  return match;
}

Result<MatchInfo> DiskStore::match(const SessionDescription& description,
                                   std::span<const std::uint32_t> token_ids) {
  KVAULT_TRY(const PrefixKey root, root_prefix_of(description));
  const std::vector<PrefixKey> prefixes = prefixes_of(parts_.key, root, token_ids);
  const auto sessions_at = [&](std::size_t depth) {
    return depth == 0 ? catalog().sessions_without_pages(root, kCandidatesMax)
                      : catalog().sessions_with_prefix(prefixes[depth - 1], kCandidatesMax);
  };
  // Who has a prefix has all shorter ones too.
  std::size_t depth = 0;
  for (std::size_t above = prefixes.size() + 1; above - depth > 1;) {
    const std::size_t middle = depth + (above - depth) / 2;
    KVAULT_TRY(const std::vector<SessionId> ids, sessions_at(middle));
    (ids.empty() ? above : depth) = middle;
  }
  MatchInfo best;
  std::set<SessionId> seen;
  // A session of fewer pages may go further by its tail, which is shorter than two pages; where
  // layers cannot stop at the end of the longest match, one that ends earlier may be the best.
  for (std::size_t at = depth + 1; at-- > 0;) {
    if (at + 2 <= depth && best.kept.n_token >= at * kPageTokens + 2 * kPageTokens) break;
    KVAULT_TRY(const std::vector<SessionId> ids, sessions_at(at));
    for (const SessionId& id : ids) {
      if (!seen.insert(id).second) continue;
      KVAULT_TRY(MatchInfo match, match_with(id, token_ids, at));
      if (match.kept.n_token > best.kept.n_token) best = std::move(match);
    }
  }
  return best;
}

}  // namespace kvault
