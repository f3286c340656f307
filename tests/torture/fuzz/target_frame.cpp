#include "sdk/src/wire_convert.hpp"
#include "tests/torture/fuzz/fuzz_target.hpp"
#include "tests/torture/model/upload.hpp"

namespace kvault::torture {
namespace {

using Bytes = std::vector<std::byte>;
using wire::MessageType;

template <class Make>
Bytes frame(MessageType type, Make make) {
  const wire::Frame made =
      wire::make_message({.version = 1, .type = type, .request_id = 7}, make).value();
  return {made.begin(), made.end()};
}

std::vector<Bytes> frame_seeds() {
  const SessionDescription description = small_session("seed", true);
  const kvault::SessionId id{};
  const std::vector<std::uint32_t> tokens = {1, 2, 3};
  std::vector<Bytes> seeds;
  seeds.push_back(frame(MessageType::hello, [](wire::Builder& builder) {
    return wire::CreateHello(builder, 1, 1, builder.CreateString("seed"));
  }));
  seeds.push_back(frame(MessageType::create_session, [&](wire::Builder& builder) {
    return wire::CreateCreateSession(builder, wire::to_wire(builder, description));
  }));
  seeds.push_back(frame(MessageType::open_session, [&](wire::Builder& builder) {
    return wire::CreateOpenSession(builder, builder.CreateString("seed"),
                                   wire::to_wire(builder, description), true);
  }));
  for (const Upload& upload :
       {tail_upload(description.shape, 0, tokens, 1), snapshot_upload(description.shape, 3, 2)}) {
    seeds.push_back(frame(MessageType::begin_record, [&](wire::Builder& builder) {
      return wire::to_wire(builder, id, upload.draft);
    }));
  }
  const wire::Frame refusal =
      wire::make_refusal({.version = 1, .type = MessageType::ping, .request_id = 7},
                         Error{Errc::busy, "another one", "", 0});
  seeds.emplace_back(refusal.begin(), refusal.end());
  return seeds;
}

void check_description_of(const wire::Description* wired) {
  if (wired == nullptr) return;
  const Result<SessionDescription> description = wire::from_wire(*wired);
  if (!description || !check_description(*description)) return;
  wire::Builder builder(1024);
  builder.Finish(wire::to_wire(builder, *description));
  const auto bytes = std::as_bytes(std::span(builder.GetBufferPointer(), builder.GetSize()));
  const Result<const wire::Description*> root = wire::verified<wire::Description>(bytes);
  must(root.has_value(), "a description written again is none");
  const Result<SessionDescription> again = wire::from_wire(**root);
  must(again && *again == *description, "a description changes on the wire");
}

void check_draft_of(const wire::BeginRecord& request) {
  const Result<RecordDraft> draft = wire::from_wire(request);
  if (!draft) return;
  static_cast<void>(check_draft(small_session("seed", true).shape, *draft).has_value());
}

/// Every table that either side may be sent.
void run_body(MessageType type, std::span<const std::byte> body) {
  const auto verify = [&]<class Table>(const Table*) {
    static_cast<void>(wire::verified<Table>(body).has_value());
  };
  switch (type) {
    case MessageType::create_session:
      if (const auto request = wire::verified<wire::CreateSession>(body)) {
        check_description_of((*request)->description());
      }
      return;
    case MessageType::open_session:
      if (const auto request = wire::verified<wire::OpenSession>(body)) {
        check_description_of((*request)->description());
      }
      return;
    case MessageType::begin_record:
      if (const auto request = wire::verified<wire::BeginRecord>(body)) check_draft_of(**request);
      return;
    default:
      verify(static_cast<const wire::Hello*>(nullptr));
      verify(static_cast<const wire::HelloOk*>(nullptr));
      verify(static_cast<const wire::Commit*>(nullptr));
      verify(static_cast<const wire::Cancel*>(nullptr));
      verify(static_cast<const wire::DeleteSession*>(nullptr));
      verify(static_cast<const wire::UpdateSession*>(nullptr));
      verify(static_cast<const wire::ForkSession*>(nullptr));
      verify(static_cast<const wire::MatchPrefix*>(nullptr));
      verify(static_cast<const wire::StatsOk*>(nullptr));
      verify(static_cast<const wire::Attach*>(nullptr));
      verify(static_cast<const wire::AttachOk*>(nullptr));
      verify(static_cast<const wire::ListSessionsOk*>(nullptr));
      verify(static_cast<const wire::SessionOk*>(nullptr));
      verify(static_cast<const wire::VerifySessionOk*>(nullptr));
  }
}

void run_frame(std::span<const std::byte> bytes) {
  if (bytes.size() < wire::kHeaderSize) return;
  const Result<wire::FrameHeader> header = wire::decode_header(bytes.first(wire::kHeaderSize));
  if (!header) return;
  const auto again = wire::encode(*header);
  must(std::equal(again.begin(), again.end(), bytes.begin()), "a header changes on the wire");
  // A copy to the byte, as it lies in a receiver: reading past it is noticed by a sanitizer.
  const std::vector<std::byte> body(bytes.begin() + wire::kHeaderSize, bytes.end());
  if (header->is_error()) {
    must(!name_of(wire::decode_refusal(body).code).empty(), "a refusal without a name");
  } else {
    run_body(header->type, body);
  }
}

void mend_frame(std::vector<std::byte>& bytes) {
  if (bytes.size() < wire::kHeaderSize) return;
  poke(std::span(bytes), 0, wire::kMagic);
  poke(std::span(bytes), 12, static_cast<std::uint32_t>(bytes.size() - wire::kHeaderSize));
}

}  // namespace

FuzzTarget frame_target() {
  return {.name = "frame", .seeds = frame_seeds, .run = run_frame, .mend = mend_frame};
}

}  // namespace kvault::torture
