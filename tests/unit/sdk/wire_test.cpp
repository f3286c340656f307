#include "sdk/src/wire.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <string>

#include "sdk/src/wire_convert.hpp"

namespace kvault::wire {
namespace {

constexpr FrameHeader kHeader{.version = 1,
                              .type = MessageType::data,
                              .flags = kFlagReply,
                              .body_size = 0x01020304 & 0xFFFFF,
                              .request_id = 0x1122334455667788U,
                              .payload_offset = 0x99AABBCCDDEEFF00U};

std::span<const std::byte> body_of(const Frame& frame) {
  return std::span(frame).subspan(kHeaderSize);
}

FrameHeader header_of(const Frame& frame) {
  return decode_header(std::span(frame).first(kHeaderSize)).value();
}

SessionDescription description() {
  SessionDescription result;
  result.name = "chat";
  result.identity = {{"weights", "abc"}, {"rope", std::string("1\0002", 3)}};
  result.shape.row_type = RowType::bf16;
  result.shape.layers = {
      {LayerKind::full_attention, 8, 2, 128, 96, 0, Scheme::tq4, Scheme::tq3},
      {LayerKind::sliding_window, 4, 4, 64, 64, 512, Scheme::raw, Scheme::raw},
      {LayerKind::recurrent, 0, 0, 0, 0, 0, Scheme::raw, Scheme::raw},
      {LayerKind::none, 0, 0, 0, 0, 0, Scheme::raw, Scheme::raw},
  };
  return result;
}

template <class Make>
std::vector<std::byte> body_with(Make make) {
  const Frame frame = make_message(FrameHeader{}, make).value();
  return {frame.begin() + kHeaderSize, frame.end()};
}

TEST_CASE("wire: a header comes back as it went") {
  const auto bytes = encode(kHeader);
  const Result<FrameHeader> decoded = decode_header(bytes);
  REQUIRE(decoded.has_value());
  CHECK(*decoded == kHeader);
}

TEST_CASE("wire: the bytes of a header are the documented ones") {
  const auto bytes = encode({.version = 1,
                             .type = MessageType::commit,
                             .flags = kFlagReply | kFlagError,
                             .body_size = 0x00012345,
                             .request_id = 7,
                             .payload_offset = 0x100});
  const std::array<unsigned, kHeaderSize> golden{'K', 'V',  'W',  '1', 1, 0, 36, 0, 3, 0, 0,
                                                 0,   0x45, 0x23, 1,   0, 7, 0,  0, 0, 0, 0,
                                                 0,   0,    0,    1,   0, 0, 0,  0, 0, 0};
  for (std::size_t i = 0; i < kHeaderSize; ++i) {
    CAPTURE(i);
    CHECK(std::to_integer<unsigned>(bytes[i]) == golden[i]);
  }
}

TEST_CASE("wire: a body over the cap is refused before a byte of it is read") {
  for (const std::uint32_t size : {kBodySizeMax + 1, 0xFFFFFFFFU}) {
    FrameHeader header = kHeader;
    header.body_size = size;
    const Result<FrameHeader> decoded = decode_header(encode(header));
    REQUIRE_FALSE(decoded.has_value());
    CHECK(decoded.error().code == Errc::protocol);
    CHECK(decoded.error().message.find(std::to_string(size)) != std::string::npos);
  }
  FrameHeader header = kHeader;
  header.body_size = kBodySizeMax;
  CHECK(decode_header(encode(header)).has_value());
}

TEST_CASE("wire: a foreign magic is refused whichever byte differs") {
  for (std::size_t i = 0; i < 4; ++i) {
    auto bytes = encode(kHeader);
    bytes[i] ^= std::byte{1};
    const Result<FrameHeader> decoded = decode_header(bytes);
    REQUIRE_FALSE(decoded.has_value());
    CHECK(decoded.error().code == Errc::protocol);
  }
}

TEST_CASE("wire: unknown types and flags pass, to be answered") {
  FrameHeader header = kHeader;
  header.type = static_cast<MessageType>(60000);
  header.flags = 0x80000000U;
  const Result<FrameHeader> decoded = decode_header(encode(header));
  REQUIRE(decoded.has_value());
  CHECK(*decoded == header);
  CHECK_FALSE(decoded->is_reply());
}

TEST_CASE("wire: a message larger than a frame is an error of its maker") {
  const Result<Frame> frame = make_message(FrameHeader{}, [](Builder& builder) {
    return CreateListSessions(builder, builder.CreateString(std::string(kBodySizeMax, 'x')));
  });
  REQUIRE_FALSE(frame.has_value());
  CHECK(frame.error().code == Errc::limit_exceeded);
}

TEST_CASE("wire: a refusal carries code and words, cut where they are endless") {
  const Error error{Errc::busy, std::string(3 * kMessageSizeMax, 'm')};
  const Frame frame = make_refusal(kHeader, error);
  const FrameHeader header = header_of(frame);
  CHECK(header.is_error());
  CHECK(header.is_reply());
  CHECK(header.request_id == kHeader.request_id);
  CHECK(header.payload_offset == 0);
  const Error decoded = decode_refusal(body_of(frame));
  CHECK(decoded.code == Errc::busy);
  CHECK(decoded.message == std::string(kMessageSizeMax, 'm'));
  CHECK(decode_refusal({}).code == Errc::protocol);
}

TEST_CASE("wire: every truncation of a message is refused or harmless") {
  const std::vector<std::byte> body = body_with([](Builder& builder) {
    return CreateOpenSession(builder, builder.CreateString("chat"), to_wire(builder, description()),
                             true);
  });
  CHECK(verified<OpenSession>(body).has_value());
  for (std::size_t size = 0; size < body.size(); ++size) {
    const std::vector<std::byte> cut(body.begin(),
                                     body.begin() + static_cast<std::ptrdiff_t>(size));
    const Result<const OpenSession*> request = verified<OpenSession>(cut);
    if (!request) continue;
    // What verifies can be read to the last field.
    if ((*request)->description() == nullptr) continue;
    (void)from_wire(*(*request)->description()).has_value();
  }
}

TEST_CASE("wire: no single changed byte makes a verified message unsafe to read") {
  const std::vector<std::byte> body = body_with([](Builder& builder) {
    return CreateOpenSession(builder, builder.CreateString("chat"), to_wire(builder, description()),
                             true);
  });
  for (std::size_t i = 0; i < body.size(); ++i) {
    for (const unsigned flip : {1U, 0x80U, 0xFFU}) {
      std::vector<std::byte> changed = body;
      changed[i] ^= static_cast<std::byte>(flip);
      const Result<const OpenSession*> request = verified<OpenSession>(changed);
      if (!request || (*request)->description() == nullptr) continue;
      (void)from_wire(*(*request)->description()).has_value();
    }
  }
}

TEST_CASE("wire: a required field that is missing is refused") {
  const std::vector<std::byte> body =
      body_with([](Builder& builder) { return CreatePing(builder); });
  CHECK(verified<Ping>(body).has_value());
  const Result<const Hello*> hello = verified<Hello>(body);
  REQUIRE_FALSE(hello.has_value());
  CHECK(hello.error().code == Errc::protocol);
}

TEST_CASE("wire: more tables than the limit are refused") {
  const auto body_of_layers = [](std::size_t n_layer) {
    return body_with([&](Builder& builder) {
      std::vector<flatbuffers::Offset<Layer>> layers(n_layer, CreateLayer(builder, 1));
      const auto vector = builder.CreateVector(layers);
      const auto name = builder.CreateString("x");
      return CreateCreateSession(builder, CreateDescription(builder, name, 0, 1, vector));
    });
  };
  CHECK(verified<CreateSession>(body_of_layers(kTablesMax - 8)).has_value());
  CHECK_FALSE(verified<CreateSession>(body_of_layers(kTablesMax + 8)).has_value());
}

TEST_CASE("wire: a description comes back as it went") {
  const std::vector<std::byte> body = body_with([](Builder& builder) {
    return CreateCreateSession(builder, to_wire(builder, description()));
  });
  const CreateSession* request = verified<CreateSession>(body).value();
  const Result<SessionDescription> back = from_wire(*request->description());
  REQUIRE(back.has_value());
  CHECK(*back == description());
}

TEST_CASE("wire: an unknown scheme is refused by layer and number") {
  SessionDescription bad = description();
  bad.shape.layers[1].value_scheme = static_cast<Scheme>(99);
  const std::vector<std::byte> body = body_with(
      [&](Builder& builder) { return CreateCreateSession(builder, to_wire(builder, bad)); });
  const CreateSession* request = verified<CreateSession>(body).value();
  const Result<SessionDescription> back = from_wire(*request->description());
  REQUIRE_FALSE(back.has_value());
  CHECK(back.error().code == Errc::invalid_argument);
  CHECK(back.error().message.find("(1)") != std::string::npos);
  CHECK(back.error().message.find("99") != std::string::npos);
}

TEST_CASE("wire: a draft comes back as it went") {
  RecordDraft draft{.kind = RecordKind::page, .first_token = 256, .n_token = 2, .meta = {}};
  draft.payload_bytes = 4096;
  draft.meta.token_ids = {5, 0xFFFFFFFFU};
  draft.meta.chunks = {{ChunkKind::segment,
                        3,
                        256,
                        1024,
                        0xFEDCBA9876543210U,
                        {BlockFormat::coded(Scheme::tq4, true), BlockFormat::raw(RowType::f16)}},
                       {ChunkKind::recurrent_state, 4, 2048, 100, 1, {}}};
  kvault::SessionId id;
  for (std::size_t i = 0; i < 16; ++i) id.bytes[i] = static_cast<std::byte>(i * 17);
  const std::vector<std::byte> body =
      body_with([&](Builder& builder) { return to_wire(builder, id, draft); });
  const BeginRecord* request = verified<BeginRecord>(body).value();
  CHECK(from_wire(*request->session_id()) == id);
  const Result<RecordDraft> back = from_wire(*request);
  REQUIRE(back.has_value());
  CHECK(back->kind == draft.kind);
  CHECK(back->first_token == draft.first_token);
  CHECK(back->n_token == draft.n_token);
  CHECK(back->payload_bytes == draft.payload_bytes);
  CHECK(back->meta == draft.meta);
}

TEST_CASE("wire: records that only the daemon writes are no drafts") {
  for (const RecordKind kind : {RecordKind::commit, RecordKind::tombstone}) {
    RecordDraft draft{.kind = kind, .meta = {}};
    const std::vector<std::byte> body =
        body_with([&](Builder& builder) { return to_wire(builder, {}, draft); });
    const BeginRecord* request = verified<BeginRecord>(body).value();
    const Result<RecordDraft> back = from_wire(*request);
    REQUIRE_FALSE(back.has_value());
    CHECK(back.error().code == Errc::invalid_argument);
  }
}

}  // namespace
}  // namespace kvault::wire
