#include "tools/npy/npy.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "core/base/assert.hpp"
#include "tools/npy/npy_header.hpp"

namespace kvault::tools {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kAlignmentBytes = 64;
constexpr std::size_t kHeaderBytesMax = std::size_t{1} << 20;
constexpr std::uint64_t kArrayBytesMax = std::uint64_t{1} << 63;

struct TypeEntry {
  NpyType type;
  std::string_view name;  ///< as after the byte order in 'descr'
  std::uint32_t size_bytes;
};

constexpr std::array kTypes = {
    TypeEntry{NpyType::b1, "b1", 1}, TypeEntry{NpyType::i1, "i1", 1},
    TypeEntry{NpyType::u1, "u1", 1}, TypeEntry{NpyType::i2, "i2", 2},
    TypeEntry{NpyType::u2, "u2", 2}, TypeEntry{NpyType::f2, "f2", 2},
    TypeEntry{NpyType::i4, "i4", 4}, TypeEntry{NpyType::u4, "u4", 4},
    TypeEntry{NpyType::f4, "f4", 4}, TypeEntry{NpyType::i8, "i8", 8},
    TypeEntry{NpyType::u8, "u8", 8}, TypeEntry{NpyType::f8, "f8", 8},
};

const TypeEntry& entry_of(NpyType type) {
  const auto index = static_cast<std::size_t>(type);
  KVAULT_ASSERT(index < kTypes.size() && kTypes[index].type == type);
  return kTypes[index];
}

Result<NpyType> type_of(std::string_view descr) {
  const std::string_view name = descr.substr(descr.empty() ? 0 : 1);
  const auto found = std::find_if(kTypes.begin(), kTypes.end(),
                                  [&](const TypeEntry& entry) { return entry.name == name; });
  if (found == kTypes.end()) {
    return fail(Errc::unsupported, message("element type '", descr, "' is not supported"));
  }
  if (descr[0] == '<' || descr[0] == '=' || (descr[0] == '|' && found->size_bytes == 1)) {
    return found->type;
  }
  return fail(Errc::unsupported, message("element type '", descr, "' is not little-endian"));
}

/// Bytes of an array, or nothing beyond 2^63.
std::optional<std::uint64_t> array_size_bytes(NpyType type, std::span<const std::uint64_t> shape) {
  std::uint64_t size_bytes = size_bytes_of(type);
  for (const std::uint64_t n : shape) {
    if (n == 0) return 0;
  }
  for (const std::uint64_t n : shape) {
    if (size_bytes > kArrayBytesMax / n) return std::nullopt;
    size_bytes *= n;
  }
  return size_bytes;
}

/// Where the header's text lies.
struct HeaderPlace {
  std::size_t first = 0;
  std::size_t size = 0;
};

Result<HeaderPlace> find_header(std::span<const std::byte> file) {
  const std::size_t n = std::min(file.size(), kMagic.size());
  if (std::memcmp(file.data(), kMagic.data(), n) != 0) {
    return fail(Errc::unknown_format, "the first 6 bytes are not \\x93NUMPY");
  }
  if (file.size() < kMagic.size() + 4) {
    return fail(Errc::truncated, message("ends after ", file.size(), " bytes, in the header"));
  }
  const auto byte_at = [&](std::size_t at) { return std::to_integer<std::size_t>(file[at]); };
  const std::size_t version = byte_at(6);
  if (version < 1 || version > 3) {
    return fail(Errc::unknown_format, message("version ", version, " is not 1, 2 or 3"));
  }
  HeaderPlace place{version == 1 ? 10U : 12U, 0};
  if (file.size() < place.first) {
    return fail(Errc::truncated, message("ends after ", file.size(), " bytes, in the header"));
  }
  for (std::size_t at = place.first; at-- > 8;) place.size = place.size << 8 | byte_at(at);
  if (place.size > kHeaderBytesMax) {
    return fail(Errc::limit_exceeded, message("a header of ", place.size, " bytes; at most ",
                                              kHeaderBytesMax, " are read"));
  }
  if (file.size() - place.first < place.size) {
    return fail(Errc::truncated, message("ends after ", file.size(), " bytes; the header needs ",
                                         place.first + place.size));
  }
  return place;
}

Result<NpyArray> parse(std::span<const std::byte> file) {
  if (file.empty()) return fail(Errc::truncated, "is empty");
  KVAULT_TRY(const HeaderPlace place, find_header(file));
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + place.first, place.size);
  KVAULT_TRY(NpyHeader header, parse_npy_header(text));
  NpyArray array;
  KVAULT_TRY(array.type, type_of(header.descr));
  array.shape = std::move(header.shape);
  const std::optional<std::uint64_t> size_bytes = array_size_bytes(array.type, array.shape);
  if (!size_bytes) {
    return fail(Errc::limit_exceeded, message("shape ", format_shape(array.shape), " of ",
                                              name_of(array.type), " exceeds 2^63 bytes"));
  }
  if (header.fortran_order && array.shape.size() > 1) {
    return fail(Errc::unsupported, message("shape ", format_shape(array.shape),
                                           " is in Fortran order; save it in C order"));
  }
  const std::span<const std::byte> data = file.subspan(place.first + place.size);
  if (data.size() != *size_bytes) {
    const bool is_short = data.size() < *size_bytes;
    return fail(is_short ? Errc::truncated : Errc::shape_mismatch,
                message("shape ", format_shape(array.shape), " of ", name_of(array.type), " takes ",
                        *size_bytes, " bytes; the file has ", data.size()));
  }
  array.bytes.assign(data.begin(), data.end());
  return array;
}

}  // namespace

std::string_view name_of(NpyType type) noexcept { return entry_of(type).name; }
std::uint32_t size_bytes_of(NpyType type) noexcept { return entry_of(type).size_bytes; }

std::uint64_t NpyArray::n_element() const { return bytes.size() / size_bytes_of(type); }

Result<NpyArray> parse_npy(std::span<const std::byte> file, std::string_view name) {
  Result<NpyArray> array = parse(file);
  if (!array) array.error().message = message(name, ": ", array.error().message);
  return array;
}

Result<NpyArray> read_npy(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return fail(Errc::not_found, message(path, ": there is no such file"));
  }
  if (std::filesystem::is_directory(path, ignored)) {
    return fail(Errc::io, message(path, ": is a directory"));
  }
  std::ifstream stream(path, std::ios::binary);
  std::vector<std::byte> file;
  const std::uint64_t expected = std::filesystem::file_size(path, ignored);
  if (!ignored) file.reserve(expected);
  std::vector<char> portion(std::size_t{1} << 20);
  while (stream) {
    stream.read(portion.data(), static_cast<std::streamsize>(portion.size()));
    const auto bytes =
        std::as_bytes(std::span(portion)).first(static_cast<std::size_t>(stream.gcount()));
    file.insert(file.end(), bytes.begin(), bytes.end());
  }
  if (!stream.eof()) {
    return fail(Errc::io, message(path, ": cannot be read beyond byte ", file.size()));
  }
  return parse_npy(file, path);
}

Result<std::vector<std::byte>> format_npy(const NpyView& array) {
  if (array_size_bytes(array.type, array.shape) != array.bytes.size()) {
    return fail(Errc::shape_mismatch,
                message("shape ", format_shape(array.shape), " of ", name_of(array.type),
                        " does not take ", array.bytes.size(), " bytes"));
  }
  std::string shape;
  for (const std::uint64_t n : array.shape) shape += message(n, ", ");
  if (!shape.empty()) shape.resize(shape.size() - (array.shape.size() == 1 ? 1 : 2));
  std::string text(kMagic);
  text += {'\1', '\0', '\0', '\0'};
  text += message("{'descr': '", size_bytes_of(array.type) == 1 ? "|" : "<", name_of(array.type),
                  "', 'fortran_order': False, 'shape': (", shape, "), }");
  text.append((kAlignmentBytes - (text.size() + 1) % kAlignmentBytes) % kAlignmentBytes, ' ');
  text += '\n';
  const std::size_t header_size = text.size() - 10;
  text[8] = static_cast<char>(header_size & 0xFFU);
  text[9] = static_cast<char>(header_size >> 8U);
  const auto head = std::as_bytes(std::span(text));
  std::vector<std::byte> file(head.begin(), head.end());
  file.insert(file.end(), array.bytes.begin(), array.bytes.end());
  return file;
}

Result<> write_npy(const std::string& path, const NpyView& array) {
  KVAULT_TRY(const std::vector<std::byte> file, format_npy(array));
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream.write(reinterpret_cast<const char*>(file.data()),
               static_cast<std::streamsize>(file.size()));
  stream.close();
  if (stream) return {};
  return fail(Errc::io, message(path, ": ", file.size(), " bytes could not be written"));
}

std::string format_shape(std::span<const std::uint64_t> shape) {
  std::string text = "[";
  for (const std::uint64_t n : shape) text += message(text.size() > 1 ? ", " : "", n);
  return text + "]";
}

}  // namespace kvault::tools
