#include "tools/model/safetensors.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

namespace kvault::tools {
namespace {

/// A file with this header and these data bytes.
std::vector<std::byte> make_file(const std::string& header, const std::vector<std::uint8_t>& data) {
  std::vector<std::byte> file(8);
  const std::uint64_t size = header.size();
  std::memcpy(file.data(), &size, 8);
  for (const char c : header) file.push_back(static_cast<std::byte>(c));
  for (const std::uint8_t byte : data) file.push_back(static_cast<std::byte>(byte));
  return file;
}

/// One tensor "w" of this type, shape and place.
std::string header_of(const std::string& type, const std::string& shape,
                      const std::string& offsets) {
  return R"({"__metadata__":{"a":"b"},"w":{"dtype":")" + type + R"(","shape":)" + shape +
         R"(,"data_offsets":)" + offsets + "}}";
}

Errc code_of(const std::string& header, std::size_t n_byte) {
  const Result<Safetensors> result =
      Safetensors::parse(make_file(header, std::vector<std::uint8_t>(n_byte)));
  return result ? Errc::internal : result.error().code;
}

TEST_CASE("safetensors: elements of every type come back as float") {
  const std::vector<std::uint64_t> shape = {1, 2};
  SUBCASE("f16") {
    const auto file =
        Safetensors::parse(make_file(header_of("F16", "[1,2]", "[0,4]"), {0, 0x3C, 0, 0xC0}));
    REQUIRE(file);
    CHECK(file->read("w", shape).value() == std::vector<float>{1.0F, -2.0F});
  }
  SUBCASE("bf16") {
    const auto file =
        Safetensors::parse(make_file(header_of("BF16", "[1,2]", "[0,4]"), {0x80, 0x3F, 0, 0xC0}));
    REQUIRE(file);
    CHECK(file->read("w", shape).value() == std::vector<float>{1.0F, -2.0F});
  }
  SUBCASE("f32, behind other bytes") {
    const auto file = Safetensors::parse(
        make_file(header_of("F32", "[1,2]", "[3,11]"), {9, 9, 9, 0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0}));
    REQUIRE(file);
    CHECK(file->read("w", shape).value() == std::vector<float>{1.0F, -2.0F});
  }
}

TEST_CASE("safetensors: a wrong name or shape is an error") {
  const auto file =
      Safetensors::parse(make_file(header_of("F32", "[2]", "[0,8]"), {0, 0, 0, 0, 0, 0, 0, 0}));
  REQUIRE(file);
  CHECK(file->tensors().size() == 1);
  const std::vector<std::uint64_t> right = {2};
  const std::vector<std::uint64_t> wrong = {1, 2};
  CHECK(file->read("w", right).has_value());
  CHECK(file->read("w", wrong).error().code == Errc::shape_mismatch);
  CHECK(file->read("v", right).error().code == Errc::not_found);
}

TEST_CASE("safetensors: no header leads a reader outside the file") {
  CHECK(code_of(header_of("F32", "[2]", "[0,8]"), 7) == Errc::corrupt);
  CHECK(code_of(header_of("F32", "[2]", "[8,0]"), 8) == Errc::corrupt);
  CHECK(code_of(header_of("F32", "[3]", "[0,8]"), 8) == Errc::corrupt);
  CHECK(code_of(header_of("F32", "[-2]", "[0,8]"), 8) == Errc::corrupt);
  CHECK(code_of(header_of("F32", "[2.0]", "[0,8]"), 8) == Errc::corrupt);
  CHECK(code_of(header_of("F32", "2", "[0,8]"), 8) == Errc::corrupt);
  CHECK(code_of(header_of("F32", "[2]", "[0,8,9]"), 8) == Errc::corrupt);
  CHECK(code_of(header_of("F32", "[2]", "[0]"), 8) == Errc::corrupt);
  CHECK(code_of(header_of("F32", "[2]", "[18446744073709551608,18446744073709551616]"), 8) ==
        Errc::corrupt);
  // 2^62 x 4 elements: the product does not fit 64 bits.
  CHECK(code_of(header_of("F32", "[4611686018427387904,4]", "[0,0]"), 0) == Errc::corrupt);
  CHECK(code_of(header_of("I64", "[1]", "[0,8]"), 8) == Errc::unknown_format);
  CHECK(code_of(R"({"w":7})", 0) == Errc::corrupt);
  CHECK(code_of(R"({"w":{}})", 0) == Errc::corrupt);
  CHECK(code_of("[]", 0) == Errc::corrupt);
  CHECK(code_of("{", 0) == Errc::corrupt);
}

TEST_CASE("safetensors: a header length beyond the file or any reason is refused") {
  std::vector<std::byte> file(8);
  CHECK(Safetensors::parse(std::vector<std::byte>(7)).error().code == Errc::truncated);
  file[0] = std::byte{1};
  CHECK(Safetensors::parse(file).error().code == Errc::truncated);
  file[7] = std::byte{0x80};
  CHECK(Safetensors::parse(file).error().code == Errc::limit_exceeded);
}

TEST_CASE("safetensors: a missing file is not found") {
  CHECK(Safetensors::open("/nonexistent/model.safetensors").error().code == Errc::not_found);
}

}  // namespace
}  // namespace kvault::tools
