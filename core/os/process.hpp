#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "core/base/result.hpp"
#include "core/os/socket.hpp"

namespace kvault {

/// Runs `program` with `arguments`, waits for it to exit and returns its exit status (128 + signal
/// where a signal ended it). Its input and output are /dev/null, what it writes to stderr goes to
/// `stderr_text` (at most 4 KiB), and it inherits no descriptor. Errc::timeout: still running.
Result<int> run_program(const std::filesystem::path& program,
                        std::span<const std::string> arguments, Deadline deadline,
                        std::string& stderr_text);

/// Moves this program into the background: a child in a session of its own goes on, the parent
/// stays until the child reports and exits with the child's status and words.
/// Call it before any thread exists. Destroyed without a report, it reports a failure.
class Background {
 public:
  static Result<Background> enter();
  Background(Background&& other) noexcept : report_(std::exchange(other.report_, -1)) {}
  Background& operator=(Background&&) = delete;
  ~Background();

  /// The parent exits with 0; stdin, stdout and stderr become /dev/null.
  void report_ready() noexcept;
  /// The parent prints `why` and exits with `status`. pre: 1 <= status <= 127
  void report_failure(int status, std::string_view why) noexcept;

 private:
  explicit Background(int report) : report_(report) {}
  void report(int status, std::string_view why) noexcept;
  int report_ = -1;
};

/// $KVAULT_RUNTIME_DIR, else $XDG_RUNTIME_DIR/kvault, else /tmp/kvault-<uid>. Not created.
std::filesystem::path default_runtime_directory();
/// $KVAULT_DATA_DIR, else $XDG_DATA_HOME/kvault, else ~/.local/share/kvault. Not created.
Result<std::filesystem::path> default_data_directory();
/// The socket of the daemon that serves `data_directory`: kvaultd.sock in the runtime directory for
/// the default data directory, a name of its own for every other.
Result<std::filesystem::path> default_socket_path(const std::filesystem::path& data_directory);

/// From now on no other process of the user may trace this one or read its memory, and no core dump
/// holds it. Where the system knows no such thing it stays as it is.
void keep_memory_private() noexcept;

/// Makes `directory` and what is missing above it, mode 0700. One that exists must be a directory
/// (no link), belong to our user and be closed to others; else Errc::permission.
Result<> make_private_directory(const std::filesystem::path& directory);

/// The file of the running program, and of the library this code was linked into.
std::filesystem::path executable_path();
std::filesystem::path library_path();
/// An executable file called `name` in $PATH; empty where there is none.
std::filesystem::path find_program(std::string_view name);

}  // namespace kvault
