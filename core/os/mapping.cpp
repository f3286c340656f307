#include "core/os/mapping.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "core/os/system_error.hpp"

namespace kvault {

Result<Mapping> Mapping::create(const File& file, std::uint64_t size_bytes) {
  KVAULT_TRY(const std::uint64_t file_bytes, file.size_bytes());
  if (size_bytes > file_bytes) {
    return fail(Errc::truncated,
                message(file.path().native(), " has ", file_bytes, " bytes, not ", size_bytes));
  }
  if (size_bytes == 0) return Mapping();
  if (size_bytes > std::numeric_limits<std::size_t>::max()) {
    return fail(Errc::out_of_memory, message("cannot map ", size_bytes, " bytes at once"));
  }
  const auto size = static_cast<std::size_t>(size_bytes);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (address == MAP_FAILED) return fail_file("map", file.path(), errno);
  return Mapping(std::span(static_cast<const std::byte*>(address), size));
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    unmap();
    bytes_ = std::exchange(other.bytes_, {});
  }
  return *this;
}

Mapping::~Mapping() { unmap(); }

void Mapping::will_need(std::uint64_t offset_bytes, std::uint64_t size_bytes) const noexcept {
  static const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t begin = std::min<std::uint64_t>(offset_bytes, bytes_.size());
  const std::uint64_t size = std::min<std::uint64_t>(size_bytes, bytes_.size() - begin);
  if (size == 0) return;
  const std::uint64_t slack = begin % page_bytes;
  const std::byte* const address = bytes_.data() + (begin - slack);
  ::madvise(const_cast<std::byte*>(address), static_cast<std::size_t>(size + slack), MADV_WILLNEED);
}

void Mapping::unmap() noexcept {
  if (bytes_.empty()) return;
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  bytes_ = {};
}

}  // namespace kvault
