#include "sdk/src/wire.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "core/base/assert.hpp"

namespace kvault::wire {
namespace {

template <class Integer>
void put(std::span<std::byte> bytes, std::size_t offset, Integer value) {
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    bytes[offset + i] = static_cast<std::byte>(value >> (8U * i));
  }
}

template <class Integer>
Integer get(std::span<const std::byte> bytes, std::size_t offset) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    value |= static_cast<std::uint64_t>(bytes[offset + i]) << (8U * i);
  }
  return static_cast<Integer>(value);
}

}  // namespace

std::array<std::byte, kHeaderSize> encode(const FrameHeader& header) {
  std::array<std::byte, kHeaderSize> bytes{};
  put(bytes, 0, kMagic);
  put(bytes, 4, header.version);
  put(bytes, 6, static_cast<std::uint16_t>(header.type));
  put(bytes, 8, header.flags);
  put(bytes, 12, header.body_size);
  put(bytes, 16, header.request_id);
  put(bytes, 24, header.payload_offset);
  return bytes;
}

Result<FrameHeader> decode_header(std::span<const std::byte> bytes) {
  KVAULT_ASSERT(bytes.size() == kHeaderSize);
  if (const auto magic = get<std::uint32_t>(bytes, 0); magic != kMagic) {
    return fail(Errc::protocol,
                message("a frame begins with ", magic, ", not with ", kMagic, " (\"KVW1\")"));
  }
  const FrameHeader header{.version = get<std::uint16_t>(bytes, 4),
                           .type = static_cast<MessageType>(get<std::uint16_t>(bytes, 6)),
                           .flags = get<std::uint32_t>(bytes, 8),
                           .body_size = get<std::uint32_t>(bytes, 12),
                           .request_id = get<std::uint64_t>(bytes, 16),
                           .payload_offset = get<std::uint64_t>(bytes, 24)};
  if (header.body_size > kBodySizeMax) {
    return fail(Errc::protocol, message("a frame announces a body of ", header.body_size,
                                        " bytes; the most is ", kBodySizeMax));
  }
  return header;
}

Result<Frame> make_frame(FrameHeader header, std::span<const std::byte> body) {
  if (body.size() > kBodySizeMax) {
    return fail(Errc::limit_exceeded,
                message("a message of type ", static_cast<unsigned>(header.type), " has ",
                        body.size(), " bytes; the most is ", kBodySizeMax));
  }
  header.body_size = static_cast<std::uint32_t>(body.size());
  const std::array<std::byte, kHeaderSize> head = encode(header);
  Frame frame;
  frame.reserve(head.size() + body.size());
  frame.insert(frame.end(), head.begin(), head.end());
  frame.insert(frame.end(), body.begin(), body.end());
  return frame;
}

Frame make_refusal(const FrameHeader& request, const Error& error) {
  FrameHeader header = request;
  header.flags = kFlagReply | kFlagError;
  header.payload_offset = 0;
  std::string_view text = error.message.empty() ? text_of(error.code) : error.message;
  text = text.substr(0, kMessageSizeMax);
  Result<Frame> frame = make_message(header, [&](flatbuffers::FlatBufferBuilder& builder) {
    const auto sentence = builder.CreateString(text.data(), text.size());
    return CreateRefusal(builder, static_cast<std::uint16_t>(error.code), sentence);
  });
  KVAULT_ASSERT(frame.has_value());
  return std::move(*frame);
}

Error decode_refusal(std::span<const std::byte> body) {
  const Result<const Refusal*> refusal = verified<Refusal>(body);
  if (!refusal) return refusal.error();
  return Error{errc_from_number((*refusal)->code()), (*refusal)->message()->str(), "", 0};
}

}  // namespace kvault::wire
