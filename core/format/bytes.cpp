#include "core/format/bytes.hpp"

namespace kvault {

// Out of line: inlined into long chains of puts, GCC 12 sees an overflow that is not there.
void ByteWriter::put_bytes(std::span<const std::byte> bytes) {
  target_.insert(target_.end(), bytes.begin(), bytes.end());
}

}  // namespace kvault
