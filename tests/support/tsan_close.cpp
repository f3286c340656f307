// Linked into kvaultd in builds with ThreadSanitizer, and nowhere else. libuv closes descriptors by
// syscall(SYS_close), which the sanitizer does not see (libuv calls close() where it is built with
// it). std::filesystem opens directories by a call that it does not see either, and closes them by
// one that it does. So a directory that the storage thread reads, at the number that a client's
// socket had, was taken for the socket, and its end for a race with the loop thread's reading.

#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>

extern "C" __attribute__((visibility("default"))) long syscall(long number, ...) noexcept {
  using Syscall = long (*)(long, ...);
  static const auto real = reinterpret_cast<Syscall>(::dlsym(RTLD_NEXT, "syscall"));
  va_list list;
  va_start(list, number);
  long arguments[6];
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  if (number == SYS_close) return ::close(static_cast<int>(arguments[0]));
  return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
              arguments[5]);
}
