#pragma once

namespace kvault {

/// Asks the system to let this process use the tile registers of AMX; false where it does not. The
/// permission is the process's, for good, and a signal's frame takes 8 KiB more from then on.
/// pre: the processor has them
bool allow_tile_registers() noexcept;

}  // namespace kvault
