// Host memory that a device reads in place.

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <random>

#include "core/os/mapping.hpp"
#include "gpu_vulkan/import_probe.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/unit/gpu_vulkan/device_case.hpp"
#include "tests/unit/gpu_vulkan/open_context.hpp"

namespace kvault::vulkan {
namespace {

constexpr std::size_t kSizeBytes = 1U << 20U;

struct Freed {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};

TEST_CASE("vulkan import: ranges of anonymous memory are read where they are") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  if (!context->imports_host_memory()) KVAULT_TEST_SKIP("it reads no mapped files");
  const std::uint64_t alignment = context->adapter().import_alignment_bytes;
  const std::unique_ptr<std::byte, Freed> memory(
      static_cast<std::byte*>(std::aligned_alloc(alignment, kSizeBytes)));
  REQUIRE(memory != nullptr);
  const std::span<std::byte> bytes(memory.get(), kSizeBytes);
  const test::Bytes random = test::random_bytes(kSizeBytes);
  std::copy(random.begin(), random.end(), bytes.begin());
  const std::unique_ptr<Device> device = test::open_device(context);
  CHECK(device->caps().adopts_host_memory);
  struct Part {
    std::size_t first;
    std::size_t n;
  };
  for (const Part part : {Part{0, kSizeBytes}, Part{128, 1}, Part{alignment - 128, 1000},
                          Part{3 * alignment + 384, 2 * alignment}, Part{kSizeBytes - 128, 128}}) {
    CAPTURE(part.first);
    const auto host_memory = bytes.subspan(part.first, part.n);
    const Result<std::unique_ptr<Buffer>> buffer = device->allocate({.host_memory = host_memory});
    REQUIRE(buffer);
    CHECK((*buffer)->size_bytes() == part.n);
    const test::Bytes back = test::download(*device, **buffer);
    CHECK(std::equal(back.begin(), back.end(), host_memory.begin(), host_memory.end()));
  }
}

TEST_CASE("vulkan import: a shader reads an adopted block as it reads one of its own") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  if (!context->imports_host_memory()) KVAULT_TEST_SKIP("it reads no mapped files");
  const std::unique_ptr<Device> device = test::open_device(context);
  constexpr std::uint32_t kHeadDim = 64;
  test::DeviceCase verbs(*device);
  const std::size_t n = verbs.rows().size();
  const std::uint64_t alignment = context->adapter().import_alignment_bytes;
  const std::unique_ptr<std::byte, Freed> memory(
      static_cast<std::byte*>(std::aligned_alloc(alignment, n + alignment)));
  std::byte* const block = memory.get() + 256;
  std::copy(verbs.rows().begin(), verbs.rows().end(), block);
  Result<std::unique_ptr<Buffer>> buffer = device->allocate({.host_memory = {block, n}});
  REQUIRE(buffer);
  const Buffer* const buffers[] = {buffer->get()};
  const BlockRef raw = {0, 0, BlockFormat::raw(RowType::f32)};
  test::Bytes rows(n);
  const Result<Ticket> ticket = device->reconstruct({.head_dim = kHeadDim,
                                                     .buffers = buffers,
                                                     .blocks = {&raw, 1},
                                                     .equaliser = {},
                                                     .row_type = RowType::f32,
                                                     .rows = rows});
  REQUIRE(ticket);
  REQUIRE(device->wait(*ticket));
  CHECK(rows == verbs.rows());
}

void check_mapped(const std::filesystem::path& path) {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  if (!context->imports_host_memory()) KVAULT_TEST_SKIP("it reads no mapped files");
  const std::unique_ptr<Device> device = test::open_device(context);
  Result<File> file = File::create(path);
  REQUIRE(file);
  const test::Bytes bytes = test::random_bytes(kSizeBytes + 1234);
  REQUIRE(file->pwrite_all(0, bytes));
  const Result<Mapping> mapping = Mapping::create(*file, bytes.size());
  REQUIRE(mapping);
  for (const std::size_t first : {std::size_t{0}, std::size_t{4096 + 128}}) {
    const auto host_memory = mapping->bytes().subspan(first);
    const Result<std::unique_ptr<Buffer>> buffer = device->allocate({.host_memory = host_memory});
    REQUIRE(buffer);
    const test::Bytes back = test::download(*device, **buffer);
    CHECK(std::equal(back.begin(), back.end(), host_memory.begin(), host_memory.end()));
  }
}

TEST_CASE("vulkan import: a device that cannot read mapped files adopts nothing") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  const std::unique_ptr<Device> device = test::open_device(context);
  CHECK(device->caps().adopts_host_memory == context->imports_host_memory());
  if (context->imports_host_memory()) {
    CHECK(context->adapter().is_integrated());
    CHECK(can_read_mapped_file(*context));
  }
}

TEST_CASE("vulkan import: a mapped file, where the device says that it adopts packs") {
  const test::TemporaryDirectory directory;
  check_mapped(directory.path() / "pack");
}

TEST_CASE("vulkan import: a mapped file of a disk, where the device says that it adopts packs") {
  const std::filesystem::path path = std::filesystem::temp_directory_path() /
                                     ("kvault-import-" + std::to_string(std::random_device()()));
  check_mapped(path);
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
}

}  // namespace
}  // namespace kvault::vulkan
