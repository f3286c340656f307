#include "core/os/write_back.hpp"

#include <fcntl.h>

namespace kvault {

void start_write_back([[maybe_unused]] const File& file,
                      [[maybe_unused]] std::uint64_t offset_bytes,
                      [[maybe_unused]] std::uint64_t size_bytes) noexcept {
#ifdef SYNC_FILE_RANGE_WRITE
  // None of its flags that wait: those would take the error that the next sync has to see.
  static_cast<void>(::sync_file_range(file.descriptor(), static_cast<off64_t>(offset_bytes),
                                      static_cast<off64_t>(size_bytes), SYNC_FILE_RANGE_WRITE));
#endif
}

}  // namespace kvault
