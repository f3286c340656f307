#include "gpu_vulkan/pipeline_file.hpp"

#include <doctest/doctest.h>

#include <array>
#include <filesystem>
#include <vector>

#include "core/os/directory.hpp"
#include "core/os/file.hpp"
#include "gpu_vulkan/pipelines.hpp"
#include "tests/support/random.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/unit/gpu_vulkan/open_context.hpp"

namespace kvault::vulkan {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::array<std::uint8_t, 16> kDriver = {1, 2,  3,  4,  5,  6,  7,  8,
                                                  9, 10, 11, 12, 13, 14, 15, 16};

Bytes random_bytes(std::size_t n) {
  test::Random random(5);
  Bytes bytes(n);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  return bytes;
}

Bytes contents(const std::filesystem::path& path) {
  const Result<File> file = File::open_read_only(path);
  REQUIRE(file);
  Bytes bytes(*file->size_bytes());
  REQUIRE(file->pread_all(0, bytes));
  return bytes;
}

void replace(const std::filesystem::path& path, const Bytes& bytes) {
  (void)remove_file(path);
  Result<File> file = File::create(path);
  REQUIRE(file);
  REQUIRE(file->pwrite_all(0, bytes));
}

TEST_CASE("vulkan pipeline file: comes back as written, in folders that did not exist") {
  const test::TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "a" / "b" / "file";
  for (const std::size_t n : {std::size_t{1}, std::size_t{100000}, std::size_t{0}}) {
    const Bytes data = random_bytes(n);
    REQUIRE(write_pipeline_file(path, kDriver, data));
    CHECK(read_pipeline_file(path, kDriver) == data);
  }
  CHECK(*list_files(path.parent_path()) == std::vector<std::string>{"file"});
}

TEST_CASE("vulkan pipeline file: every cut and every flipped byte is noticed") {
  const test::TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "file";
  REQUIRE(write_pipeline_file(path, kDriver, random_bytes(60)));
  const Bytes whole = contents(path);
  std::size_t n_accepted = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    replace(path, {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(i)});
    if (!read_pipeline_file(path, kDriver).empty()) ++n_accepted;
    Bytes flipped = whole;
    flipped[i] ^= std::byte{0x40};
    replace(path, flipped);
    if (!read_pipeline_file(path, kDriver).empty()) ++n_accepted;
  }
  Bytes longer = whole;
  longer.push_back(std::byte{0});
  replace(path, longer);
  if (!read_pipeline_file(path, kDriver).empty()) ++n_accepted;
  CHECK(n_accepted == 0);
  replace(path, whole);
  CHECK(read_pipeline_file(path, kDriver).size() == 60);
}

TEST_CASE("vulkan pipeline file: of another driver, absent or not a file reads as empty") {
  const test::TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "file";
  REQUIRE(write_pipeline_file(path, kDriver, random_bytes(60)));
  std::array<std::uint8_t, 16> other = kDriver;
  other[15] ^= 1;
  CHECK(read_pipeline_file(path, other).empty());
  CHECK(read_pipeline_file(directory.path() / "none", kDriver).empty());
  CHECK(read_pipeline_file(directory.path(), kDriver).empty());
  CHECK(read_pipeline_file({}, kDriver).empty());
  replace(path, {});
  CHECK(read_pipeline_file(path, kDriver).empty());
}

TEST_CASE("vulkan pipeline file: a huge one is not even read") {
  const test::TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "file";
  replace(path, {});
  std::filesystem::resize_file(path, std::uint64_t{1} << 42U);
  CHECK(read_pipeline_file(path, kDriver).empty());
}

TEST_CASE("vulkan pipeline file: a path that cannot be written is an error") {
  const test::TemporaryDirectory directory;
  replace(directory.path() / "file", {});
  CHECK_FALSE(write_pipeline_file(directory.path() / "file" / "below", kDriver, random_bytes(9)));
  std::filesystem::create_directories(directory.path() / "folder" / "full");
  CHECK_FALSE(write_pipeline_file(directory.path() / "folder", kDriver, random_bytes(9)));
}

TEST_CASE("vulkan pipelines: compile whatever stands in their file, and leave a whole one") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const test::TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "file";
  const std::array<std::uint32_t, 2> constants = {64, 32};
  const auto compile_one = [&](const std::filesystem::path& file) {
    Result<std::unique_ptr<Pipelines>> pipelines = Pipelines::create(*context, file);
    REQUIRE(pipelines);
    const Result<VkPipeline> first = (*pipelines)->find(Shader::encode_rotate, constants);
    REQUIRE(first);
    CHECK(*(*pipelines)->find(Shader::encode_rotate, constants) == *first);
  };
  const std::vector<std::uint8_t>& driver = context->adapter().cache_uuid;
  compile_one(path);
  const Bytes kept = read_pipeline_file(path, driver);
  CHECK(!kept.empty());
  Bytes damaged = contents(path);
  damaged[damaged.size() / 2] ^= std::byte{1};
  for (const Bytes& bytes : {damaged, Bytes(damaged.begin(), damaged.begin() + 20), Bytes()}) {
    replace(path, bytes);
    compile_one(path);
    CHECK(!read_pipeline_file(path, driver).empty());
  }
  // What passes every check of ours and means nothing to the driver.
  REQUIRE(write_pipeline_file(path, driver, random_bytes(500)));
  compile_one(path);
  compile_one(path / "below");
  compile_one({});
}

}  // namespace
}  // namespace kvault::vulkan
