#include "tools/npy/npy.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "tools/npy/npy_header.hpp"

namespace kvault::tools {
namespace {

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// A version 1 file with this dictionary, as NumPy would pad it, and data.
std::vector<std::byte> make_file(std::string dictionary, const std::string& data) {
  dictionary.append((64 - (11 + dictionary.size()) % 64) % 64, ' ');
  dictionary += '\n';
  std::string file = "\x93NUMPY";
  file += {'\1', '\0', static_cast<char>(dictionary.size() & 255U),
           static_cast<char>(dictionary.size() >> 8U)};
  return bytes_of(file + dictionary + data);
}

std::vector<std::byte> make_file(const std::string& descr, const std::string& shape,
                                 const std::string& data) {
  return make_file("{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }",
                   data);
}

Error error_of(const std::vector<std::byte>& file) {
  const Result<NpyArray> array = parse_npy(file, "X.npy");
  REQUIRE_FALSE(array.has_value());
  INFO(array.error().message);
  CHECK(array.error().message.starts_with("X.npy: "));
  return array.error();
}

bool contains(const Error& error, std::string_view part) {
  const bool found = error.message.find(part) != std::string::npos;
  if (!found) MESSAGE("\"" << error.message << "\" lacks \"" << part << "\"");
  return found;
}

}  // namespace

TEST_CASE("short: npy: a file as NumPy writes it is read") {
  // np.save of np.array([[1, 2, 3], [4, 5, 6]], dtype="<i2")
  const std::string data("\1\0\2\0\3\0\4\0\5\0\6\0", 12);
  const Result<NpyArray> array = parse_npy(make_file("<i2", "(2, 3)", data), "X.npy");
  REQUIRE(array.has_value());
  CHECK(array->type == NpyType::i2);
  CHECK(array->shape == std::vector<std::uint64_t>{2, 3});
  CHECK(array->n_element() == 6);
  CHECK(std::memcmp(array->bytes.data(), data.data(), 12) == 0);
}

TEST_CASE("short: npy: what is written is read back, for every type and rank") {
  const std::array all = {NpyType::b1, NpyType::i1, NpyType::u1, NpyType::i2,
                          NpyType::u2, NpyType::f2, NpyType::i4, NpyType::u4,
                          NpyType::f4, NpyType::i8, NpyType::u8, NpyType::f8};
  const std::array<std::vector<std::uint64_t>, 5> shapes = {
      {{}, {7}, {3, 5}, {0, 9}, {2, 1, 3, 2, 1}}};
  for (const NpyType type : all) {
    for (const std::vector<std::uint64_t>& shape : shapes) {
      std::uint64_t size = size_bytes_of(type);
      for (const std::uint64_t n : shape) size *= n;
      std::vector<std::byte> bytes(size);
      for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 37 + 1);
      const auto file = format_npy({type, shape, bytes});
      REQUIRE(file.has_value());
      CHECK((file->size() - size) % 64 == 0);
      const auto array = parse_npy(*file, "X.npy");
      REQUIRE(array.has_value());
      CHECK(array->type == type);
      CHECK(array->shape == shape);
      CHECK(array->bytes == bytes);
    }
  }
}

TEST_CASE("short: npy: the header written is the one NumPy writes") {
  const std::array<std::uint64_t, 1> shape = {2};
  const std::array<std::byte, 8> zeros{};
  const auto file = format_npy({NpyType::f4, shape, zeros});
  REQUIRE(file.has_value());
  CHECK(*file == make_file("<f4", "(2,)", std::string(8, '\0')));
}

TEST_CASE("short: npy: versions 2 and 3, other spellings, key orders and quotes are read") {
  for (const char version : {'\2', '\3'}) {
    std::string text = "{\"shape\":(1,2),\"fortran_order\":False,\"descr\":\"|u1\"}\n";
    std::string file = "\x93NUMPY";
    file += {version, '\0', static_cast<char>(text.size()), '\0', '\0', '\0'};
    const auto array = parse_npy(bytes_of(file + text + "ab"), "X.npy");
    REQUIRE(array.has_value());
    CHECK(array->shape == std::vector<std::uint64_t>{1, 2});
    CHECK(array->type == NpyType::u1);
  }
}

TEST_CASE("short: npy: a file cut anywhere is an error that says where it ends") {
  const std::vector<std::byte> whole = make_file("<f4", "(3, 2)", std::string(24, 'x'));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Error error =
        error_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
    CHECK(error.code == Errc::truncated);
  }
  CHECK(contains(error_of({whole.begin(), whole.end() - 1}), "[3, 2] of f4 takes 24 bytes"));
  CHECK(contains(error_of({whole.begin(), whole.end() - 1}), "has 23"));
  CHECK(contains(error_of({whole.begin(), whole.begin() + 20}), "after 20 bytes"));
}

TEST_CASE("short: npy: bytes behind the last element are an error") {
  const Error error = error_of(make_file("<f4", "(1,)", "12345"));
  CHECK(error.code == Errc::shape_mismatch);
  CHECK(contains(error, "4 bytes; the file has 5"));
}

TEST_CASE("short: npy: what is not supported is refused by name") {
  CHECK(error_of(bytes_of("PK\3\4 this is a zip")).code == Errc::unknown_format);
  std::vector<std::byte> version = make_file("<f4", "(1,)", "1234");
  version[6] = std::byte{9};
  CHECK(contains(error_of(version), "version 9"));
  CHECK(contains(error_of(make_file(">f4", "(1,)", "1234")), "'>f4' is not little-endian"));
  CHECK(contains(error_of(make_file("<c8", "(1,)", "12345678")), "'<c8'"));
  CHECK(contains(error_of(make_file("", "(1,)", "1")), "''"));
  const Error order =
      error_of(make_file("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1), }", "12345678"));
  CHECK(order.code == Errc::unsupported);
  CHECK(contains(order, "[2, 1] is in Fortran order"));
}

TEST_CASE("short: npy: a shape beyond what memory can address is an error, not an overflow") {
  for (const char* shape : {"(4294967296, 4294967296)", "(2, 9223372036854775807)",
                            "(3, 6148914691236517206)", "(99999999999999999999999,)"}) {
    const Error error = error_of(make_file("<f4", shape, "1234"));
    CHECK(error.code == Errc::limit_exceeded);
  }
  CHECK(error_of(make_file("<f4", "(1000000, 1000000)", "1234")).code == Errc::truncated);
  const auto empty = parse_npy(make_file("<f4", "(0, 9223372036854775807, 4)", ""), "X.npy");
  CHECK(empty.has_value());
}

TEST_CASE("short: npy: headers that are not what NumPy writes are refused") {
  for (const char* text :
       {"", "{", "{}", "{'descr': '<f4'}", "[1]",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, -2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 1}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4, 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x"}) {
    const auto header = parse_npy_header(text);
    REQUIRE_FALSE(header.has_value());
    CHECK(header.error().code == Errc::unknown_format);
  }
  std::string dimensions;
  for (int i = 0; i < 33; ++i) dimensions += "1, ";
  const auto header =
      parse_npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + dimensions + ")}");
  REQUIRE_FALSE(header.has_value());
  CHECK(header.error().code == Errc::limit_exceeded);
}

TEST_CASE("short: npy: files are written and read; missing ones and folders are named") {
  const std::string folder = std::filesystem::temp_directory_path() / "kvault_npy_test";
  std::filesystem::create_directories(folder);
  const std::string path = folder + "/x.npy";
  const std::array<std::uint64_t, 2> shape = {1, 4};
  const std::array<float, 4> data = {1, 2, 3, 4};
  REQUIRE(write_npy(path, {NpyType::f4, shape, std::as_bytes(std::span(data))}).has_value());
  const auto array = read_npy(path);
  REQUIRE(array.has_value());
  CHECK(std::memcmp(array->bytes.data(), data.data(), sizeof data) == 0);

  CHECK(read_npy(folder + "/none.npy").error().code == Errc::not_found);
  CHECK(read_npy(folder).error().code == Errc::io);
  CHECK(write_npy(folder + "/none/x.npy", {NpyType::f4, shape, std::as_bytes(std::span(data))})
            .error()
            .code == Errc::io);
  CHECK(write_npy(path, {NpyType::f8, shape, std::as_bytes(std::span(data))}).error().code ==
        Errc::shape_mismatch);
  std::filesystem::remove_all(folder);
}

}  // namespace kvault::tools
