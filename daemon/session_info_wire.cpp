#include "daemon/session_info_wire.hpp"

namespace kvault {

flatbuffers::Offset<wire::SessionInfo> to_wire(wire::Builder& builder, const SessionInfo& info) {
  const SessionAttributes& attributes = info.attributes;
  const auto name = builder.CreateString(info.name);
  const auto labels = builder.CreateVectorOfStrings(attributes.labels);
  const wire::SessionId id = wire::to_wire(info.id);
  const wire::SessionId forked_from = wire::to_wire(attributes.forked_from);
  const bool is_fork = attributes.forked_from != SessionId();
  const wire::RequestKey made_by = wire::to_wire(attributes.made_by);
  const bool has_maker = attributes.made_by != RequestKey();
  return wire::CreateSessionInfo(builder, &id, name, info.commit_number, info.n_token, info.n_page,
                                 info.live_bytes, info.created_at_s, info.committed_at_s,
                                 info.last_used_at_s, attributes.is_pinned, attributes.expires_at_s,
                                 labels, is_fork ? &forked_from : nullptr,
                                 attributes.forked_at_token, has_maker ? &made_by : nullptr);
}

flatbuffers::Offset<wire::SessionOk> to_wire(wire::Builder& builder,
                                             const DescribedSession& session) {
  const auto info = to_wire(builder, session.info);
  const auto description = wire::to_wire(builder, session.description);
  flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> key;
  wire::SessionId family;
  if (session.key) {
    family = wire::to_wire(session.key->family);
    key = wire::to_wire(builder, session.key->key);
  }
  return wire::CreateSessionOk(builder, info, description,
                               static_cast<std::uint32_t>(session.info.n_record),
                               session.key ? &family : nullptr, key);
}

}  // namespace kvault
