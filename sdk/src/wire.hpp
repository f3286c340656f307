#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <flatbuffers/flatbuffers.h>

#include "core/base/result.hpp"
#include "core/seal/wiped_bytes.hpp"
#include "kvault_wire_generated.h"

/// Frames and limits of the protocol, shared by the daemon and the client. The book of the
/// protocol is sdk/schema/kvault_wire.fbs; docs/protocol.md is its summary.
namespace kvault::wire {

/// The versions this build speaks.
inline constexpr std::uint32_t kProtocolMin = 1;
inline constexpr std::uint32_t kProtocolMax = 1;

/// "KVW1" as a little-endian word: the first bytes of every frame.
inline constexpr std::uint32_t kMagic = 0x3157564BU;
inline constexpr std::size_t kHeaderSize = 32;

/// The body of a frame, control or data, never exceeds this.
inline constexpr std::uint32_t kBodySizeMax = 1U << 20U;
/// The first grant of payload, and so the most of it that one client makes the daemon hold.
inline constexpr std::uint64_t kCreditBytes = 4U << 20U;
/// Requests and data frames of one connection that wait for the storage thread, and the bytes in
/// them; above either the daemon does not read on.
inline constexpr std::uint32_t kRequestsMax = 32;
inline constexpr std::uint64_t kWaitingBytesMax = 8U << 20U;
/// Output a client has not taken; above it the daemon does not read that client's requests.
inline constexpr std::uint64_t kOutputBytesMax = 2U << 20U;
inline constexpr std::uint32_t kConnectionsMax = 256;
inline constexpr std::uint32_t kSessionsOpenMax = 256;
inline constexpr std::uint32_t kRecordsPendingMax = 16384;
/// Nesting and number of tables that a body may have; longer lists travel in pages.
inline constexpr std::uint32_t kDepthMax = 16;
inline constexpr std::uint32_t kTablesMax = 16384;
/// Sessions in one page of a list; records, and bytes of their packs' paths, in a page of an
/// attachment.
inline constexpr std::uint32_t kSessionsPerPage = 256;
inline constexpr std::uint32_t kRecordsPerPage = 8192;
inline constexpr std::size_t kPathBytesPerPage = 256U << 10U;
inline constexpr std::size_t kDamagePerReport = 256;
inline constexpr std::size_t kAppNameSizeMax = 255;
inline constexpr std::size_t kMessageSizeMax = 4096;

/// Bits of FrameHeader::flags. A receiver ignores bits it does not know.
enum Flag : std::uint32_t {
  kFlagReply = 1U << 0U,  ///< answers the request with this id
  kFlagError = 1U << 1U,  ///< the body is a Refusal
};

/// What precedes every body.
///
///   offset size
///   0      4    magic "KVW1"
///   4      2    protocol version: 0 in Hello and its answer, the chosen one afterwards
///   6      2    message type
///   8      4    flags
///   12     4    body size in bytes, <= kBodySizeMax
///   16     8    request id: chosen by the client, repeated by the answer; 0: no request
///   24     8    data: the offset of the body in the record's payload; else 0
struct FrameHeader {
  std::uint16_t version = 0;
  MessageType type = MessageType::none;
  std::uint32_t flags = 0;
  std::uint32_t body_size = 0;
  std::uint64_t request_id = 0;
  std::uint64_t payload_offset = 0;
  friend bool operator==(const FrameHeader&, const FrameHeader&) = default;

  bool is_reply() const { return (flags & kFlagReply) != 0; }
  bool is_error() const { return (flags & kFlagError) != 0; }
};

std::array<std::byte, kHeaderSize> encode(const FrameHeader& header);
/// pre: bytes.size() == kHeaderSize. Errc::protocol for a foreign magic or a body over the cap.
/// A type this build does not know passes: it is answered, not fatal.
Result<FrameHeader> decode_header(std::span<const std::byte> bytes);

/// A whole frame, header and body, ready to be sent. It may hold a token or a key.
using Frame = WipedBytes;

/// The memory in which a message is built, likewise.
class MessageMemory final : public flatbuffers::Allocator {
 public:
  std::uint8_t* allocate(std::size_t size) override { return allocator_.allocate(size); }
  void deallocate(std::uint8_t* memory, std::size_t size) override {
    allocator_.deallocate(memory, size);
  }

 private:
  WipingAllocator<std::uint8_t> allocator_;
};

/// `header` with the size of `body`, then `body`. Errc::limit_exceeded above kBodySizeMax.
Result<Frame> make_frame(FrameHeader header, std::span<const std::byte> body);

/// The frame of a message: `make(builder)` returns the offset of its root table.
template <class Make>
Result<Frame> make_message(const FrameHeader& header, Make make) {
  MessageMemory memory;
  flatbuffers::FlatBufferBuilder builder(1024, &memory);
  builder.Finish(make(builder));
  return make_frame(header,
                    std::as_bytes(std::span(builder.GetBufferPointer(), builder.GetSize())));
}

/// The answer that refuses the request `request`; a message over 4096 bytes is cut.
Frame make_refusal(const FrameHeader& request, const Error& error);

/// The root table of a body, verified; Errc::protocol where it is none. Borrows `body`.
template <class Table>
Result<const Table*> verified(std::span<const std::byte> body) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(body.data());
  flatbuffers::Verifier verifier(data, body.size(), kDepthMax, kTablesMax);
  if (body.size() < sizeof(flatbuffers::uoffset_t) || !verifier.VerifyBuffer<Table>(nullptr)) {
    return fail(Errc::protocol, message("a body of ", body.size(), " bytes is not the ",
                                        "flatbuffer its frame announces"));
  }
  return flatbuffers::GetRoot<Table>(data);
}

/// The error inside a Refusal; Errc::protocol where the body is none.
Error decode_refusal(std::span<const std::byte> body);

}  // namespace kvault::wire
