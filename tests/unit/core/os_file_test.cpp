#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/os/directory.hpp"
#include "core/os/file.hpp"
#include "core/os/lock.hpp"
#include "core/os/mapping.hpp"
#include "tests/support/temporary_directory.hpp"

namespace kvault {
namespace {

using test::TemporaryDirectory;

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST_CASE("short: file: many share a lock, one has it alone, and a removed file knows it") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "pack";
  Result<File> writer = File::create(path);
  REQUIRE(writer);
  Result<File> reader = File::open_read_only(path);
  Result<File> second = File::open_read_only(path);
  REQUIRE(reader);
  REQUIRE(second);
  CHECK(reader->lock_shared());
  CHECK(second->lock_shared());
  const Result<> refused = writer->lock_exclusive();
  REQUIRE(!refused);
  CHECK(refused.error().code == Errc::busy);
  CHECK(refused.error().message.find("pack") != std::string::npos);
  reader->close();
  second->close();
  CHECK(writer->lock_exclusive());
  reader = File::open_read_only(path);
  REQUIRE(reader);
  CHECK(reader->lock_shared().error().code == Errc::busy);
  CHECK(*reader->is_linked());
  std::filesystem::remove(path);
  CHECK_FALSE(*reader->is_linked());
}

TEST_CASE("short: mapping: hints may reach beyond the mapping and change nothing") {
  const TemporaryDirectory directory;
  Result<File> file = File::create(directory.path() / "a");
  REQUIRE(file);
  REQUIRE(file->pwrite_all(0, std::vector<std::byte>(100'000, std::byte{5})));
  const Result<Mapping> mapping = Mapping::create(*file, 100'000);
  REQUIRE(mapping);
  mapping->will_need(70'001, 1U << 30U);
  mapping->will_need(200'000, 1);
  Mapping().will_need(0, 1);
  file->drop_cached();
  CHECK(mapping->bytes()[99'999] == std::byte{5});
}

TEST_CASE("short: file: create, write, read back, size, sync") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "a";
  Result<File> file = File::create(path);
  REQUIRE(file);
  CHECK(file->pwrite_all(4096, bytes_of("later")));
  CHECK(file->pwrite_all(0, bytes_of("first")));
  CHECK(file->sync());
  CHECK(*file->size_bytes() == 4101);
  std::vector<std::byte> back(5);
  CHECK(file->pread_all(4096, back));
  CHECK(back == bytes_of("later"));
  CHECK(file->pread_all(100, back));
  CHECK(back == std::vector<std::byte>(5));  // a hole reads as zero

  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0600U);
  CHECK((::fcntl(file->descriptor(), F_GETFD) & FD_CLOEXEC) != 0);

  File moved = std::move(*file);
  CHECK(moved.is_open());
  CHECK_FALSE(file->is_open());
}

TEST_CASE("short: file: errors say what, where and errno") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "a";
  const Result<File> missing = File::open(path);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == Errc::not_found);
  CHECK(missing.error().message.find(path.native()) != std::string::npos);
  CHECK(missing.error().message.find("errno 2") != std::string::npos);

  Result<File> file = File::create(path);
  REQUIRE(file);
  CHECK(File::create(path).error().code == Errc::already_exists);
  std::vector<std::byte> target(8);
  REQUIRE(file->pwrite_all(0, bytes_of("1234")));
  CHECK(file->pread_all(0, target).error().code == Errc::truncated);
  CHECK(file->pwrite_all(UINT64_MAX - 2, target).error().code == Errc::out_of_range);
  Result<File> reader = File::open_read_only(path);
  REQUIRE(reader);
  CHECK_FALSE(reader->pwrite_all(0, target));
  REQUIRE(::symlink(path.c_str(), (directory.path() / "link").c_str()) == 0);
  CHECK_FALSE(File::open(directory.path() / "link"));
  CHECK(File::open_read_only(directory.path()).error().code == Errc::invalid_argument);
  REQUIRE(::mkfifo((directory.path() / "fifo").c_str(), 0600) == 0);
  CHECK(File::open_read_only(directory.path() / "fifo").error().code == Errc::invalid_argument);

  Result<File> full = File::create(directory.path() / "b");
  REQUIRE(full);
  const int device = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  if (device >= 0) {  // the same descriptor, now a disk without room
    REQUIRE(::dup2(device, full->descriptor()) >= 0);
    ::close(device);
    CHECK(full->pwrite_all(0, target).error().code == Errc::disk_full);
  }
}

TEST_CASE("short: mapping: sees the file, outlives it, refuses what is not there") {
  const TemporaryDirectory directory;
  Result<File> file = File::create(directory.path() / "a");
  REQUIRE(file);
  REQUIRE(file->pwrite_all(0, std::vector<std::byte>(8192)));
  Result<Mapping> mapping = Mapping::create(*file, 8192);
  REQUIRE(mapping);
  REQUIRE(file->pwrite_all(5000, bytes_of("x")));
  file->close();
  CHECK(mapping->bytes()[5000] == std::byte{'x'});
  Mapping moved = std::move(*mapping);
  CHECK(mapping->bytes().empty());
  CHECK(moved.bytes().size() == 8192);
  const Result<File> again = File::open_read_only(directory.path() / "a");
  REQUIRE(again);
  CHECK(Mapping::create(*again, 8193).error().code == Errc::truncated);
  CHECK(Mapping::create(*again, 0)->bytes().empty());
}

TEST_CASE("short: directory: list, rename, remove, sync") {
  const TemporaryDirectory directory;
  REQUIRE(File::create(directory.path() / "b"));
  REQUIRE(File::create(directory.path() / "a"));
  std::filesystem::create_directory(directory.path() / "folder");
  CHECK(*list_files(directory.path()) == std::vector<std::string>{"a", "b"});
  CHECK(rename_file(directory.path() / "a", directory.path() / "c"));
  CHECK(sync_directory(directory.path()));
  CHECK(remove_file(directory.path() / "b"));
  CHECK(*list_files(directory.path()) == std::vector<std::string>{"c"});
  CHECK(remove_file(directory.path() / "b").error().code == Errc::not_found);
  CHECK(list_files(directory.path() / "none").error().code == Errc::not_found);
  CHECK(sync_directory(directory.path() / "none").error().code == Errc::not_found);
}

TEST_CASE("short: lock: one holder at a time, free again when it goes") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "lock";
  {
    const Result<FileLock> held = FileLock::acquire(path);
    REQUIRE(held);
    CHECK(FileLock::acquire(path).error().code == Errc::busy);
  }
  CHECK(FileLock::acquire(path));
}

}  // namespace
}  // namespace kvault
