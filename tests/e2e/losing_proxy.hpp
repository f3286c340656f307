#pragma once

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "core/os/process.hpp"
#include "sdk/src/wire.hpp"
#include "tests/e2e/daemon_process.hpp"

namespace kvault::test {

/// Stands between clients and a kvaultd and passes on what they say, frame by frame from the
/// daemon's side. The next answers of a type that lose() names are thrown away, and both ends of
/// their connection closed: the daemon has done what was asked, and the client cannot know.
class LosingProxy {
 public:
  /// directory: for the socket; the daemon may come, go and come back.
  LosingProxy(const std::filesystem::path& directory, const Daemon& daemon)
      : daemon_path_(daemon.socket_path()), path_(directory / "p" / "kvaultd.sock") {
    REQUIRE(make_private_directory(path_.parent_path()));
    listener_ = listen_local(path_).value();
    acceptor_ = std::thread([this] { accept_all(); });
  }
  LosingProxy(const LosingProxy&) = delete;
  LosingProxy& operator=(const LosingProxy&) = delete;
  ~LosingProxy() {
    is_ending_ = true;
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
  }

  /// `options` of a client of the daemon, for one that comes through here.
  ClientOptions through(ClientOptions options) const {
    options.socket_path = path_;
    return options;
  }

  /// on_loss: run in between, after the answer came and before the client is hung up on.
  void lose(wire::MessageType type, int n, std::function<void()> on_loss = {}) {
    on_loss_ = std::move(on_loss);
    type_ = type;
    n_left_ = n;
  }
  /// What on_loss did happened before this counts it: a test asks before it touches the same
  /// things.
  int n_lost() const { return n_lost_; }

 private:
  static Deadline in_s(int s) { return std::chrono::steady_clock::now() + std::chrono::seconds(s); }

  /// False where nothing came within a moment.
  static bool wait_for(int descriptor) {
    pollfd entry{.fd = descriptor, .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 20) > 0;
  }

  void accept_all() {
    while (!is_ending_) {
      if (!wait_for(listener_.descriptor())) continue;
      const int descriptor =
          ::accept4(listener_.descriptor(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (descriptor < 0) continue;
      threads_.emplace_back([this, app = Socket(descriptor)]() mutable { serve(app); });
    }
  }

  void serve(Socket& app) {
    Result<Socket> daemon = connect_local(daemon_path_, in_s(5));
    if (!daemon) return;
    std::vector<std::byte> from_daemon;
    std::array<std::byte, 65536> bytes;
    while (!is_ending_) {
      std::array<pollfd, 2> ends{
          {{app.descriptor(), POLLIN, 0}, {daemon->descriptor(), POLLIN, 0}}};
      ::poll(ends.data(), ends.size(), 20);
      if (ends[0].revents != 0) {
        const Result<std::size_t> size = app.receive_some(bytes, in_s(1));
        if (!size || !send(*daemon, std::span(bytes).first(*size))) return;
      }
      if (ends[1].revents != 0) {
        const Result<std::size_t> size = daemon->receive_some(bytes, in_s(1));
        if (!size) return;
        from_daemon.insert(from_daemon.end(), bytes.begin(),
                           bytes.begin() + static_cast<std::ptrdiff_t>(*size));
        if (!pass_on(from_daemon, app)) {
          daemon->close();  // first, so that the lease is free before the client can come back
          return;
        }
      }
    }
  }

  static bool send(Socket& socket, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const Result<std::size_t> sent = socket.send_some(bytes, in_s(10));
      if (!sent) return false;
      bytes = bytes.subspan(*sent);
    }
    return true;
  }

  /// Passes whole frames on, up to one that is to be lost: false.
  bool pass_on(std::vector<std::byte>& frames, Socket& app) {
    for (;;) {
      if (frames.size() < wire::kHeaderSize) return true;
      const auto header = wire::decode_header(std::span(frames).first(wire::kHeaderSize)).value();
      const std::size_t size = wire::kHeaderSize + header.body_size;
      if (frames.size() < size) return true;
      if (header.is_reply() && header.type == type_ && n_left_ > 0) {
        --n_left_;
        if (on_loss_) on_loss_();
        ++n_lost_;
        return false;
      }
      if (!send(app, std::span(frames).first(size))) return false;
      frames.erase(frames.begin(), frames.begin() + static_cast<std::ptrdiff_t>(size));
    }
  }

  const std::filesystem::path daemon_path_;
  const std::filesystem::path path_;
  Socket listener_;
  std::function<void()> on_loss_;  ///< set before n_left_, read after it
  std::atomic<wire::MessageType> type_ = wire::MessageType::none;
  std::atomic<int> n_left_ = 0;
  std::atomic<int> n_lost_ = 0;
  std::atomic<bool> is_ending_ = false;
  std::thread acceptor_;
  std::vector<std::thread> threads_;  ///< of acceptor_ alone, then of the destructor
};

}  // namespace kvault::test
