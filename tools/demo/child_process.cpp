#include "tools/demo/child_process.hpp"

#include <signal.h>
#include <stdlib.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

namespace kvault::tools {
namespace {

/// A word of the shell's, whatever is in it.
std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) {
    if (c == '\'') {
      text += "'\\''";
    } else {
      text += c;
    }
  }
  return text + "'";
}

std::optional<std::string> line_of(std::FILE* stream) {
  std::string line;
  std::array<char, 4096> part;
  while (std::fgets(part.data(), static_cast<int>(part.size()), stream) != nullptr) {
    line += part.data();
    if (line.ends_with('\n')) {
      line.pop_back();
      return line;
    }
  }
  return std::nullopt;  // an unfinished line is one that its writer did not live to finish
}

}  // namespace

void ChildProcess::Close::operator()(std::FILE* stream) const noexcept { ::pclose(stream); }

Result<ChildProcess> ChildProcess::start(const ChildOptions& options) {
  // The shell prints its process id and becomes the program, so that the id stays good.
  std::string command = "echo $$; exec " + quoted(options.program.native());
  for (const std::string& argument : options.arguments) command += message(" ", quoted(argument));
  command += message(" </dev/null 2>>", quoted(options.stderr_file.native()));
  if (!options.reads_output) command += " >/dev/null";
  Stream stream(::popen(command.c_str(), "re"));
  if (!stream) {
    return fail(Errc::io, message("cannot start ", options.program.native(), ": ",
                                  std::string_view(std::strerror(errno))));
  }
  const std::optional<std::string> line = line_of(stream.get());
  int id = 0;
  if (!line || std::from_chars(line->data(), line->data() + line->size(), id).ec != std::errc() ||
      id <= 1) {
    return fail(Errc::io, message("cannot start ", options.program.native()));
  }
  return ChildProcess(std::move(stream), id);
}

ChildProcess::~ChildProcess() {
  if (!stream_) return;
  kill();
  wait();
}

std::optional<std::string> ChildProcess::read_line() {
  return stream_ ? line_of(stream_.get()) : std::nullopt;
}

void ChildProcess::kill() noexcept {
  if (stream_) ::kill(id_, SIGKILL);
}

int ChildProcess::wait() noexcept {
  if (!stream_) return -1;
  const int status = ::pclose(stream_.release());
  if (status < 0) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace kvault::tools
