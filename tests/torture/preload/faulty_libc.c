/* Loaded into kvaultd by LD_PRELOAD, for tests: the n-th call of a kind goes wrong.
 *
 *   KVAULT_FAIL_ALLOCATION=n   the n-th allocation answers NULL, and no other (not where a
 *                              sanitizer allocates)
 *   KVAULT_KILL_AT=n           SIGKILL before the n-th call that changes a file
 *   KVAULT_FAIL_ACCEPT=n       accept() answers ENOMEM after the n-th connection, for as long as
 *                              the file that KVAULT_FAIL_ACCEPT_WHILE names exists
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

struct sockaddr; /* <sys/socket.h> has unions that no definition of ours matches */

#define REPLACED __attribute__((visibility("default")))

#ifndef KVAULT_SANITIZED
extern void* __libc_malloc(size_t size);
extern void* __libc_calloc(size_t count, size_t size);
extern void* __libc_realloc(void* block, size_t size);
#endif

static atomic_long n_change;
static atomic_long n_accept;
static long kill_at = -1;
static long fail_accept = -1;
static const char* accept_file;

static long number_of(const char* name) {
  const char* text = getenv(name);
  return text == NULL ? -1 : atol(text);
}

__attribute__((constructor)) static void begin(void) {
  kill_at = number_of("KVAULT_KILL_AT");
  fail_accept = number_of("KVAULT_FAIL_ACCEPT");
  accept_file = getenv("KVAULT_FAIL_ACCEPT_WHILE");
}

static void change(void) {
  if (kill_at >= 0 && atomic_fetch_add(&n_change, 1) + 1 == kill_at) kill(getpid(), SIGKILL);
}

#ifndef KVAULT_SANITIZED
static atomic_long n_allocation;
static long fail_allocation = -1;

__attribute__((constructor)) static void begin_allocations(void) {
  fail_allocation = number_of("KVAULT_FAIL_ALLOCATION");
}

static int fails_now(void) {
  if (fail_allocation < 0) return 0;
  return atomic_fetch_add(&n_allocation, 1) + 1 == fail_allocation;
}

REPLACED void* malloc(size_t size) {
  if (!fails_now()) return __libc_malloc(size);
  errno = ENOMEM;
  return NULL;
}
REPLACED void* calloc(size_t count, size_t size) {
  if (!fails_now()) return __libc_calloc(count, size);
  errno = ENOMEM;
  return NULL;
}
REPLACED void* realloc(void* block, size_t size) {
  if (!fails_now()) return __libc_realloc(block, size);
  errno = ENOMEM;
  return NULL;
}
#endif

REPLACED ssize_t pwrite(int descriptor, const void* data, size_t size, off_t offset) {
  change();
  return syscall(SYS_pwrite64, descriptor, data, size, offset);
}
REPLACED ssize_t pwrite64(int descriptor, const void* data, size_t size, off64_t offset) {
  change();
  return syscall(SYS_pwrite64, descriptor, data, size, offset);
}
REPLACED int fsync(int descriptor) {
  change();
  return (int)syscall(SYS_fsync, descriptor);
}
REPLACED int fdatasync(int descriptor) {
  change();
  return (int)syscall(SYS_fdatasync, descriptor);
}
REPLACED int ftruncate64(int descriptor, off64_t size) {
  change();
  return (int)syscall(SYS_ftruncate, descriptor, size);
}
REPLACED int unlink(const char* path) {
  change();
  return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
REPLACED int rename(const char* from, const char* to) {
  change();
  return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
REPLACED int renameat2(int from_directory, const char* from, int to_directory, const char* to,
                       unsigned flags) {
  change();
  return (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, flags);
}

REPLACED int accept4(int listener, struct sockaddr* address, unsigned* size, int flags);
REPLACED int accept(int listener, struct sockaddr* address, unsigned* size);

REPLACED int accept4(int listener, struct sockaddr* address, unsigned* size, int flags) {
  if (fail_accept >= 0 && atomic_load(&n_accept) >= fail_accept && accept_file != NULL &&
      syscall(SYS_faccessat, AT_FDCWD, accept_file, F_OK) == 0) {
    errno = ENOMEM;
    return -1;
  }
  const int descriptor = (int)syscall(SYS_accept4, listener, address, size, flags);
  if (descriptor >= 0) atomic_fetch_add(&n_accept, 1);
  return descriptor;
}
REPLACED int accept(int listener, struct sockaddr* address, unsigned* size) {
  return accept4(listener, address, size, 0);
}
