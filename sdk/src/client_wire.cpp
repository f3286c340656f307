#include "sdk/src/client_wire.hpp"

#include <sodium.h>

namespace kvault::client {

RequestKey new_request_key() {
  RequestKey key{};
  randombytes_buf(key.data(), key.size());
  return key;
}

SessionInfo from_wire(const wire::SessionInfo& info) {
  SessionInfo result{.id = wire::from_wire(*info.id()),
                     .name = info.name()->str(),
                     .commit_number = info.commit_number(),
                     .n_token = info.n_token(),
                     .n_page = info.n_page(),
                     .live_bytes = info.live_bytes(),
                     .created_at_s = info.created_at_s(),
                     .committed_at_s = info.committed_at_s(),
                     .last_used_at_s = info.last_used_at_s(),
                     .attributes = {}};
  SessionAttributes& attributes = result.attributes;
  attributes.is_pinned = info.pinned();
  attributes.expires_at_s = info.expires_at_s();
  if (info.labels() != nullptr) {
    for (const auto* label : *info.labels()) attributes.labels.push_back(label->str());
  }
  if (info.forked_from() != nullptr) {
    attributes.forked_from = wire::from_wire(*info.forked_from());
    attributes.forked_at_token = info.forked_at_token();
  }
  attributes.made_by = wire::from_wire(info.made_by());
  return result;
}

Stats from_wire(const wire::StatsOk& stats) {
  Stats result{.n_session = stats.n_session(),
               .n_record = stats.n_record(),
               .n_pending_record = stats.n_pending_record(),
               .n_pack = stats.n_pack(),
               .live_bytes = stats.live_bytes(),
               .pack_bytes = stats.pack_bytes(),
               .n_connection = stats.n_connection(),
               .n_queued_task = stats.n_queued_task(),
               .disk_bytes = stats.disk_bytes(),
               .quota_bytes = stats.quota_bytes(),
               .uptime_s = stats.uptime_s(),
               .n_commit = stats.n_commit(),
               .written_bytes = stats.written_bytes(),
               .n_evicted = stats.n_evicted(),
               .n_expired = stats.n_expired(),
               .n_pack_deleted = stats.n_pack_deleted(),
               .n_compaction = stats.n_compaction(),
               .moved_bytes = stats.moved_bytes(),
               .n_damage = stats.n_damage()};
  if (stats.namespaces() == nullptr) return result;
  for (const wire::NamespaceUse* use : *stats.namespaces()) {
    const std::string name = use->name() == nullptr ? "" : use->name()->str();
    result.namespaces.push_back({name, use->size_bytes(), use->n_client()});
  }
  return result;
}

}  // namespace kvault::client
