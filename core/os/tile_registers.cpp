#include "core/os/tile_registers.hpp"

#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace kvault {

bool allow_tile_registers() noexcept {
#if defined(__linux__) && defined(__x86_64__)
  constexpr int kAskPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;           // XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, kAskPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace kvault
