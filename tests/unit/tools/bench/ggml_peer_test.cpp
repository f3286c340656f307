#include "tools/bench/ggml_peer.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/skip.hpp"
#include "tests/support/temporary_directory.hpp"

namespace kvault::tools {
namespace {

/// A shared library that this process has loaded anyway.
std::filesystem::path any_library() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const std::size_t start = line.find('/');
    if (start != std::string::npos && line.find("libm.so") != std::string::npos) {
      return line.substr(start);
    }
  }
  return {};
}

bool has(const SharedLibrary& library, const char* name) {
  return library.find<double (*)(double)>(name) != nullptr;
}

TEST_CASE("shared library: what the loader refuses is an error with its reason") {
  const test::TemporaryDirectory folder;
  const auto absent = SharedLibrary::open(folder.path() / "absent.so");
  REQUIRE_FALSE(absent);
  CHECK(absent.error().code == Errc::not_found);
  CHECK(absent.error().message.find("absent.so") != std::string::npos);
  std::ofstream(folder.path() / "text.so") << "no library";
  CHECK_FALSE(SharedLibrary::open(folder.path() / "text.so"));
}

TEST_CASE("shared library: functions are found by name, null where there is none") {
  const std::filesystem::path path = any_library();
  if (path.empty()) KVAULT_TEST_SKIP("this C library has no libm.so");
  auto library = SharedLibrary::open(path);
  REQUIRE(library);
  CHECK(has(*library, "cbrt"));
  CHECK_FALSE(has(*library, "no_such_function"));
  const SharedLibrary moved = std::move(*library);
  CHECK(has(moved, "cbrt"));
  CHECK_FALSE(has(SharedLibrary(), "cbrt"));
}

TEST_CASE("ggml peer: a folder that does not hold it is refused with its name") {
  const test::TemporaryDirectory folder;
  const auto absent = GgmlPeer::load(folder.path() / "absent");
  REQUIRE_FALSE(absent);
  CHECK(absent.error().message.find("absent") != std::string::npos);
  const auto empty = GgmlPeer::load(folder.path());
  REQUIRE_FALSE(empty);
  CHECK(empty.error().code == Errc::not_found);
  CHECK(empty.error().message.find("no libggml.*so") != std::string::npos);
}

TEST_CASE("ggml peer: a library without its functions is refused, and they are named") {
  const std::filesystem::path path = any_library();
  if (path.empty()) KVAULT_TEST_SKIP("this C library has no libm.so");
  const test::TemporaryDirectory folder;
  std::filesystem::copy_file(path, folder.path() / "libggml.so");
  const auto peer = GgmlPeer::load(folder.path());
  REQUIRE_FALSE(peer);
  CHECK(peer.error().code == Errc::unsupported);
  CHECK(peer.error().message.find("ggml_flash_attn_ext") != std::string::npos);
  CHECK(peer.error().message.find("ggml_version") != std::string::npos);
}

}  // namespace
}  // namespace kvault::tools
