#include "sdk/src/frame_channel.hpp"

#include <array>
#include <utility>

namespace kvault {
namespace {

Deadline after(std::chrono::milliseconds patience) {
  return std::chrono::steady_clock::now() + patience;
}

tl::unexpected<Error> not_connected() {
  return fail(Errc::disconnected, "the connection to kvaultd has ended; connect anew");
}

}  // namespace

Result<> FrameChannel::send(std::span<const std::byte> frame) {
  if (!is_open()) return not_connected();
  while (!frame.empty()) {
    Result<std::size_t> sent = socket_.send_some(frame, after(patience_));
    if (sent) {
      frame = frame.subspan(*sent);
      continue;
    }
    // The daemon may have said why it hung up.
    Error error = std::move(sent).error();
    while (error.code == Errc::disconnected && is_open()) {
      Result<IncomingFrame> last = receive(std::chrono::milliseconds(100));
      if (!last && last.error().code != Errc::timeout) error = std::move(last).error();
      if (!last) break;
    }
    close();
    return tl::unexpected<Error>(std::move(error));
  }
  return {};
}

Result<IncomingFrame> FrameChannel::receive(std::chrono::milliseconds patience) {
  if (!is_open()) return not_connected();
  Result<IncomingFrame> frame = receive_frame(patience);
  if (!frame) {
    close();
    return frame;
  }
  if (frame->header.is_error() && frame->header.request_id == 0) {
    close();
    return tl::unexpected<Error>(wire::decode_refusal(frame->body));
  }
  return frame;
}

Result<IncomingFrame> FrameChannel::receive_frame(std::chrono::milliseconds patience) {
  std::array<std::byte, wire::kHeaderSize> header_bytes;
  KVAULT_CHECK(fill(header_bytes, patience));
  IncomingFrame frame;
  KVAULT_TRY(frame.header, wire::decode_header(header_bytes));
  frame.body.resize(frame.header.body_size);
  KVAULT_CHECK(fill(frame.body, patience));
  return frame;
}

Result<> FrameChannel::fill(std::span<std::byte> target, std::chrono::milliseconds patience) {
  while (!target.empty()) {
    KVAULT_TRY(const std::size_t size, socket_.receive_some(target, after(patience)));
    target = target.subspan(size);
  }
  return {};
}

}  // namespace kvault
