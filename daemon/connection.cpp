#include "daemon/connection.hpp"

#include <utility>

#include "core/base/assert.hpp"

namespace kvault {

/// A frame on its way out; freed by on_written, which libuv always calls.
struct Connection::Write {
  uv_write_t request{};
  wire::Frame frame;
};

Result<std::unique_ptr<Connection>> Connection::accept(uv_stream_t* listener, ConnectionId id,
                                                       ConnectionOwner& owner) {
  std::unique_ptr<Connection> connection(new Connection(id, owner));
  const auto init = [listener](uv_pipe_t* pipe) { return uv_pipe_init(listener->loop, pipe, 0); };
  KVAULT_TRY(connection->pipe_, make_uv_handle<uv_pipe_t>(connection.get(), init));
  if (const int status = uv_accept(listener, connection->stream()); status != 0) {
    return fail_uv("accept", status);
  }
  uv_os_fd_t descriptor = -1;
  const auto* handle = reinterpret_cast<const uv_handle_t*>(connection->pipe_.get());
  if (const int status = uv_fileno(handle, &descriptor); status != 0) {
    return fail_uv("uv_fileno", status);
  }
  KVAULT_TRY(connection->peer_, require_same_user(descriptor));
  connection->moved_at_ms_ = uv_now(listener->loop);
  return connection;
}

std::size_t Connection::queued_output_bytes() const noexcept {
  return pipe_ ? uv_stream_get_write_queue_size(stream()) : 0;
}

void Connection::resume_reading() {
  if (!is_open() || reading_) return;
  reading_ = uv_read_start(stream(), &Connection::on_alloc, &Connection::on_read) == 0;
  moved_at_ms_ = uv_now(pipe_->loop);
  if (!reading_) close();
}

void Connection::pause_reading() {
  if (!pipe_ || !reading_) return;
  uv_read_stop(stream());
  reading_ = false;
}

void Connection::on_alloc(uv_handle_t* handle, std::size_t /*suggested*/, uv_buf_t* buffer) {
  auto& self = *static_cast<Connection*>(handle->data);
  // Exactly what the frame lacks: a frame is never read beyond its end, nothing is copied twice.
  const std::span<std::byte> target =
      self.has_header_ ? std::span<std::byte>(self.body_) : std::span(self.header_bytes_);
  const std::span<std::byte> rest = target.subspan(self.n_filled_);
  *buffer = uv_buf_init(reinterpret_cast<char*>(rest.data()), static_cast<unsigned>(rest.size()));
}

void Connection::on_read(uv_stream_t* stream, ssize_t size, const uv_buf_t* /*buffer*/) {
  auto* self = static_cast<Connection*>(stream->data);
  if (self == nullptr || size == 0) return;  // 0: nothing there after all
  if (size < 0) {
    self->close();
    return;
  }
  self->take(static_cast<std::size_t>(size));
}

void Connection::take(std::size_t size) {
  moved_at_ms_ = uv_now(pipe_->loop);
  n_filled_ += size;
  if (!has_header_) {
    KVAULT_ASSERT(n_filled_ <= wire::kHeaderSize);
    if (n_filled_ < wire::kHeaderSize) return;
    Result<wire::FrameHeader> header = wire::decode_header(header_bytes_);
    if (!header) {
      pause_reading();
      owner_.on_broken_frame(*this, header.error());
      return;
    }
    header_ = *header;
    has_header_ = true;
    n_filled_ = 0;
    body_.assign(header_.body_size, std::byte{});
  }
  KVAULT_ASSERT(n_filled_ <= body_.size());
  if (n_filled_ < body_.size()) return;
  has_header_ = false;
  n_filled_ = 0;
  std::vector<std::byte> body = std::exchange(body_, {});
  owner_.on_frame(*this, header_, body);
  wipe(body);  // a token may have been in it; payload has moved on
}

void Connection::send(wire::Frame frame) {
  if (!is_open()) return;
  auto write = std::make_unique<Write>();
  write->frame = std::move(frame);
  uv_buf_t buffer = uv_buf_init(reinterpret_cast<char*>(write->frame.data()),
                                static_cast<unsigned>(write->frame.size()));
  write->request.data = write.get();
  if (queued_output_bytes() == 0) moved_at_ms_ = uv_now(pipe_->loop);
  if (uv_write(&write->request, stream(), &buffer, 1, &Connection::on_written) != 0) {
    close();
    return;
  }
  [[maybe_unused]] const Write* freed_by_on_written = write.release();
}

void Connection::on_written(uv_write_t* request, int status) {
  const std::unique_ptr<Write> write(static_cast<Write*>(request->data));
  auto* self = static_cast<Connection*>(request->handle->data);
  if (self == nullptr) return;
  if (status != 0) {
    self->close();
    return;
  }
  self->moved_at_ms_ = uv_now(self->pipe_->loop);
  if (!self->closing_) {
    self->owner_.on_output_taken(*self);
  } else if (self->queued_output_bytes() == 0) {
    self->close();
  }
}

void Connection::close_after_output() {
  if (!is_open()) return;
  pause_reading();
  if (queued_output_bytes() == 0) {
    close();
    return;
  }
  closing_ = true;
  moved_at_ms_ = uv_now(pipe_->loop);
}

void Connection::close() {
  if (!pipe_) return;
  pipe_.reset();
  reading_ = false;
  wipe(body_);
  owner_.on_closed(*this);
}

void Connection::close_if_stuck(std::chrono::milliseconds patience) {
  if (!pipe_) return;
  const bool owes_input = reading_ && is_within_frame();
  const bool owes_output = queued_output_bytes() > 0;
  if (!owes_input && !owes_output) return;
  const std::uint64_t silent_ms = uv_now(pipe_->loop) - moved_at_ms_;
  if (silent_ms >= static_cast<std::uint64_t>(patience.count())) close();
}

}  // namespace kvault
