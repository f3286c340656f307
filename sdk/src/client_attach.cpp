#include <utility>

#include "sdk/src/client.hpp"
#include "sdk/src/client_wire.hpp"

namespace kvault {
namespace {

/// How often a reader starts anew because a commit came between two pages of its list.
constexpr int kAttemptsMax = 8;

Result<RecordKind> record_kind_of(std::uint16_t number) {
  const auto kind = static_cast<RecordKind>(number);
  if (kind == RecordKind::page || kind == RecordKind::tail || kind == RecordKind::snapshot) {
    return kind;
  }
  return fail(Errc::unknown_format, message("a session has a record of the unknown kind ", number));
}

/// Appends the records of one page of the list.
Result<> add_page(const wire::AttachOk& page, std::vector<client::RecordPlace>& records) {
  const flatbuffers::uoffset_t n_pack = page.pack_paths() ? page.pack_paths()->size() : 0;
  if (page.records() == nullptr) return {};
  for (const wire::RecordPlace* place : *page.records()) {
    KVAULT_TRY(const RecordKind kind, record_kind_of(place->kind()));
    if (place->pack() >= n_pack) {
      return fail(Errc::protocol, message("a record lies in pack ", place->pack(), " of ", n_pack));
    }
    records.push_back({.kind = kind,
                       .pack_path = page.pack_paths()->Get(place->pack())->str(),
                       .offset_bytes = place->offset_bytes(),
                       .length_bytes = place->length_bytes(),
                       .first_token = place->first_token(),
                       .n_token = place->n_token(),
                       .checksum = place->checksum()});
  }
  return {};
}

}  // namespace

Result<IncomingFrame> Client::attach_page(const SessionId& session, std::uint32_t first,
                                          std::uint64_t commit_number) {
  const auto make = [&, id = wire::to_wire(session)](wire::Builder& builder) {
    return wire::CreateAttach(builder, &id, first, commit_number);
  };
  return request(wire::MessageType::attach, make);
}

Result<client::Attachment> Client::attach_once(const SessionId& session) {
  client::Attachment result;
  std::uint64_t commit_number = 0;
  for (;;) {
    const auto first = static_cast<std::uint32_t>(result.records.size());
    KVAULT_TRY(const IncomingFrame answer, attach_page(session, first, commit_number));
    KVAULT_TRY(const wire::AttachOk* page, wire::verified<wire::AttachOk>(answer.body));
    if (first == 0) {
      result.info = client::from_wire(*page->info());
      commit_number = result.info.commit_number;
      if (page->description() == nullptr) {
        return fail(Errc::protocol, "the first page of an attachment has no description");
      }
      KVAULT_TRY(result.description, wire::from_wire(*page->description()));
    }
    KVAULT_CHECK(add_page(*page, result.records));
    if (result.records.size() >= page->n_record()) return result;
    if (result.records.size() == first) {
      return fail(Errc::protocol,
                  message("an attachment ends at record ", first, " of ", page->n_record()));
    }
  }
}

Result<client::Attachment> Client::attach(const SessionId& session) {
  for (int attempt = 1;; ++attempt) {
    Result<client::Attachment> attachment = attach_once(session);
    const auto key = keys_.find(session);
    if (attachment && key != keys_.end()) attachment->key = key->second;
    if (attachment || attachment.error().code != Errc::conflict || attempt == kAttemptsMax) {
      return attachment;
    }
  }
}

}  // namespace kvault
