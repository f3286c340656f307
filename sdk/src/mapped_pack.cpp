#include "sdk/src/mapped_pack.hpp"

namespace kvault {

Result<std::shared_ptr<MappedPack>> MappedPack::open(const std::filesystem::path& path,
                                                     std::uint64_t size_bytes_min) {
  auto pack = std::make_shared<MappedPack>();
  KVAULT_TRY(pack->file_, File::open_read_only(path));
  KVAULT_CHECK(pack->file_.lock_shared());
  // It may have been removed between the two calls; from here on the lock holds it.
  KVAULT_TRY(const bool is_linked, pack->file_.is_linked());
  if (!is_linked) {
    return fail(Errc::not_found, message(path.native(), " was removed while it was opened"));
  }
  KVAULT_TRY(const std::uint64_t size_bytes, pack->file_.size_bytes());
  if (size_bytes < size_bytes_min) {
    return fail(Errc::truncated,
                message("the pack ends at byte ", size_bytes, ", the record at ", size_bytes_min));
  }
  KVAULT_TRY(pack->mapping_, Mapping::create(pack->file_, size_bytes));
  return pack;
}

Result<> MappedPack::adopt(Device& device) {
  Result<std::unique_ptr<Buffer>> buffer = device.allocate({.host_memory = mapping_.bytes()});
  if (buffer) {
    buffer_ = std::move(*buffer);
    return {};
  }
  const Errc code = buffer.error().code;
  if (code == Errc::out_of_memory || code == Errc::unsupported) return {};
  return tl::unexpected(buffer.error());
}

}  // namespace kvault
