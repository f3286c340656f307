#include "tools/model/safetensors.hpp"

#include <bit>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "core/base/assert.hpp"
#include "core/base/half.hpp"
#include "tools/model/hash.hpp"

namespace kvault::tools {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kFileSizeMax = std::uint64_t{16} << 30U;
constexpr std::uint64_t kHeaderSizeMax = std::uint64_t{16} << 20U;
constexpr std::size_t kTensorsMax = 65536;
constexpr std::size_t kAxesMax = 8;
constexpr std::size_t kPrefixSize = 8;

std::optional<TensorType> type_from(std::string_view name) {
  if (name == "F16") return TensorType::f16;
  if (name == "BF16") return TensorType::bf16;
  if (name == "F32") return TensorType::f32;
  return std::nullopt;
}

std::size_t size_bytes_of(TensorType type) { return type == TensorType::f32 ? 4 : 2; }

/// A JSON number that is a whole one and not negative.
std::optional<std::uint64_t> natural(const Json& json) {
  if (!json.is_number_unsigned()) return std::nullopt;
  return *json.get_ptr<const Json::number_unsigned_t*>();
}

/// The array under `key` as whole numbers; empty where it is anything else.
std::optional<std::vector<std::uint64_t>> naturals(const Json& entry, const char* key,
                                                   std::size_t n_max) {
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_array() || found->size() > n_max) return std::nullopt;
  std::vector<std::uint64_t> numbers;
  for (const Json& element : *found) {
    const std::optional<std::uint64_t> number = natural(element);
    if (!number) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

/// Elements times their size; empty where that exceeds what a file may hold.
std::optional<std::uint64_t> size_of(std::span<const std::uint64_t> shape, TensorType type) {
  std::uint64_t size = size_bytes_of(type);
  for (const std::uint64_t extent : shape) {
    if (extent != 0 && size > kFileSizeMax / extent) return std::nullopt;
    size *= extent;
  }
  return size;
}

Result<Tensor> parse_tensor(const std::string& name, const Json& entry, std::uint64_t data_offset,
                            std::uint64_t data_size) {
  if (!entry.is_object()) return fail(Errc::corrupt, message(name, " is not a JSON object"));
  const auto type_entry = entry.find("dtype");
  if (type_entry == entry.end() || !type_entry->is_string()) {
    return fail(Errc::corrupt, message(name, " has no dtype"));
  }
  const std::string& type_name = *type_entry->get_ptr<const std::string*>();
  const std::optional<TensorType> type = type_from(type_name);
  if (!type) return fail(Errc::unknown_format, message(name, " has dtype ", type_name));
  const auto shape = naturals(entry, "shape", kAxesMax);
  const auto offsets = naturals(entry, "data_offsets", 2);
  if (!shape || !offsets || offsets->size() != 2) {
    return fail(Errc::corrupt, message(name, " has no valid shape and data_offsets"));
  }
  const std::uint64_t begin = (*offsets)[0];
  const std::uint64_t end = (*offsets)[1];
  if (begin > end || end > data_size) {
    return fail(Errc::corrupt,
                message(name, " lies at [", begin, ", ", end, ") of ", data_size, " bytes"));
  }
  const std::optional<std::uint64_t> size = size_of(*shape, *type);
  if (!size || *size != end - begin) {
    return fail(Errc::corrupt,
                message(name, " has ", end - begin, " bytes, another size than its shape says"));
  }
  return Tensor{.type = *type,
                .shape = *shape,
                .offset_bytes = data_offset + begin,
                .size_bytes = end - begin};
}

}  // namespace

Result<Safetensors> Safetensors::parse(std::vector<std::byte> file) {
  static_assert(std::endian::native == std::endian::little);
  if (file.size() < kPrefixSize) {
    return fail(Errc::truncated, message("a safetensors file of ", file.size(), " bytes"));
  }
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, file.data(), kPrefixSize);
  if (header_size > kHeaderSizeMax) {
    return fail(Errc::limit_exceeded, message("a header of ", header_size, " bytes"));
  }
  if (header_size > file.size() - kPrefixSize) {
    return fail(Errc::truncated,
                message("a header of ", header_size, " in ", file.size(), " bytes"));
  }
  const char* text = reinterpret_cast<const char*>(file.data()) + kPrefixSize;
  const Json header = Json::parse(text, text + header_size, nullptr, false);
  if (!header.is_object()) return fail(Errc::corrupt, "the header is not a JSON object");
  if (header.size() > kTensorsMax) {
    return fail(Errc::limit_exceeded, message(header.size(), " tensors"));
  }
  Safetensors result;
  const std::uint64_t data_offset = kPrefixSize + header_size;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    KVAULT_TRY(Tensor tensor, parse_tensor(name, entry, data_offset, file.size() - data_offset));
    result.tensors_.emplace(name, std::move(tensor));
  }
  result.file_ = std::move(file);
  return result;
}

Result<Safetensors> Safetensors::open(const std::filesystem::path& path) {
  KVAULT_TRY(std::vector<std::byte> file, read_file(path, kFileSizeMax));
  Result<Safetensors> result = parse(std::move(file));
  if (!result) {
    return fail(result.error().code, message(path.native(), ": ", result.error().message));
  }
  return result;
}

Result<std::vector<float>> Safetensors::read(std::string_view name,
                                             std::span<const std::uint64_t> shape) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return fail(Errc::not_found, message("no tensor ", name));
  const Tensor& tensor = found->second;
  if (!std::equal(shape.begin(), shape.end(), tensor.shape.begin(), tensor.shape.end())) {
    return fail(Errc::shape_mismatch, message("the tensor ", name, " has another shape"));
  }
  KVAULT_ASSERT(tensor.offset_bytes + tensor.size_bytes <= file_.size());
  std::vector<float> values(tensor.size_bytes / size_bytes_of(tensor.type));
  const std::byte* source = file_.data() + tensor.offset_bytes;
  if (tensor.type == TensorType::f32) {
    if (!values.empty()) std::memcpy(values.data(), source, tensor.size_bytes);
    return values;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, source + 2 * i, 2);
    values[i] = tensor.type == TensorType::f16 ? to_float(Half{bits}) : to_float(BFloat16{bits});
  }
  return values;
}

std::uint64_t Safetensors::hash() const { return hash_of(std::span(file_)); }

Result<std::vector<std::byte>> read_file(const std::filesystem::path& path,
                                         std::uint64_t size_bytes_max) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) {
    return fail(error == std::errc::no_such_file_or_directory ? Errc::not_found : Errc::io,
                message("cannot read ", path.native(), ": ", error.message()));
  }
  if (size > size_bytes_max) {
    return fail(Errc::limit_exceeded, message(path.native(), " has ", size, " bytes"));
  }
  std::vector<std::byte> bytes(size);
  std::ifstream stream(path, std::ios::binary);
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  if (!stream || static_cast<std::uintmax_t>(stream.gcount()) != size) {
    return fail(Errc::io, message("cannot read the ", size, " bytes of ", path.native()));
  }
  return bytes;
}

}  // namespace kvault::tools
