#include "sdk/adapters/llama/src/gguf.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>

namespace kvault::llama {
namespace {

constexpr std::uint64_t kHeadBytesMax = std::uint64_t{1} << 30U;
constexpr std::uint64_t kCountMax = std::uint64_t{1} << 26U;
constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"

enum ValueType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

/// Takes values from the front of a head that may not be read to its end yet.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::size_t offset() const { return offset_; }

  template <class T>
  Result<T> take() {
    if (bytes_.size() - offset_ < sizeof(T)) return too_short();
    T value{};
    std::memcpy(&value, bytes_.data() + offset_, sizeof value);
    offset_ += sizeof value;
    return value;
  }
  Result<std::string> take_text() {
    KVAULT_TRY(const std::uint64_t size, take<std::uint64_t>());
    if (size > kHeadBytesMax) return wrong("a text of bytes:", size);
    if (bytes_.size() - offset_ < size) return too_short();
    std::string text(reinterpret_cast<const char*>(bytes_.data() + offset_), size);
    offset_ += size;
    return text;
  }
  Result<std::uint64_t> take_count(std::string_view what) {
    KVAULT_TRY(const std::uint64_t count, take<std::uint64_t>());
    if (count > kCountMax) return wrong(what, count);
    return count;
  }
  tl::unexpected<Error> wrong(std::string_view what, std::uint64_t value) const {
    return fail(Errc::corrupt,
                message("the GGUF head has ", what, " ", value, " before byte ", offset_));
  }

 private:
  tl::unexpected<Error> too_short() const {
    return fail(Errc::truncated, message("the GGUF head goes on past byte ", bytes_.size()));
  }

  std::span<const std::byte> bytes_;
  std::size_t offset_ = 0;
};

template <class T>
Result<Gguf::Value> take_number(Reader& reader) {
  KVAULT_TRY(const T value, reader.take<T>());
  if constexpr (std::is_floating_point_v<T>) {
    return Gguf::Value(static_cast<double>(value));
  } else {
    return Gguf::Value(static_cast<std::int64_t>(value));
  }
}

Result<Gguf::Value> take_scalar(Reader& reader, std::uint32_t type) {
  switch (type) {
    case kU8:
    case kBool:
      return take_number<std::uint8_t>(reader);
    case kI8:
      return take_number<std::int8_t>(reader);
    case kU16:
      return take_number<std::uint16_t>(reader);
    case kI16:
      return take_number<std::int16_t>(reader);
    case kU32:
      return take_number<std::uint32_t>(reader);
    case kI32:
      return take_number<std::int32_t>(reader);
    case kF32:
      return take_number<float>(reader);
    case kU64:
    case kI64:
      return take_number<std::int64_t>(reader);
    case kF64:
      return take_number<double>(reader);
    case kString: {
      KVAULT_TRY(std::string text, reader.take_text());
      return Gguf::Value(std::move(text));
    }
    default:
      return reader.wrong("a value of type", type);
  }
}

/// Lists of texts and of fractions are gone through and come out empty.
Result<Gguf::Value> take_value(Reader& reader) {
  KVAULT_TRY(const std::uint32_t type, reader.take<std::uint32_t>());
  if (type != kArray) return take_scalar(reader, type);
  KVAULT_TRY(const std::uint32_t element, reader.take<std::uint32_t>());
  if (element == kArray) return reader.wrong("a list of lists, type", element);
  KVAULT_TRY(const std::uint64_t count, reader.take_count("list entries:"));
  std::vector<std::int64_t> numbers;
  for (std::uint64_t i = 0; i < count; ++i) {
    KVAULT_TRY(const Gguf::Value value, take_scalar(reader, element));
    if (const auto* number = std::get_if<std::int64_t>(&value)) numbers.push_back(*number);
  }
  return Gguf::Value(std::move(numbers));
}

Result<GgufTensor> take_tensor(Reader& reader) {
  GgufTensor tensor;
  KVAULT_TRY(tensor.name, reader.take_text());
  KVAULT_TRY(const std::uint32_t n_dim, reader.take<std::uint32_t>());
  if (n_dim == 0 || n_dim > 4) return reader.wrong("a tensor's dimensions:", n_dim);
  for (std::uint32_t i = 0; i < n_dim; ++i) {
    KVAULT_TRY(const std::uint64_t dim, reader.take<std::uint64_t>());
    if (dim == 0 || dim > (std::uint64_t{1} << 32U)) return reader.wrong("a dimension of", dim);
    tensor.dims.push_back(dim);
  }
  KVAULT_TRY(tensor.type, reader.take<std::uint32_t>());
  KVAULT_TRY(tensor.offset_bytes, reader.take<std::uint64_t>());
  return tensor;
}

}  // namespace

Result<Gguf> Gguf::open(const std::filesystem::path& path) {
  Gguf file;
  file.path_ = path;
  std::error_code code;
  file.file_bytes_ = std::filesystem::file_size(path, code);
  if (code) {
    return fail(Errc::not_found, message("model file ", path.native(), ": ", code.message()));
  }
  // The head's size is in nothing but the head: read more until it is all there.
  for (std::uint64_t size = std::uint64_t{1} << 20U;; size *= 4) {
    const std::uint64_t n = std::min({size, file.file_bytes_, kHeadBytesMax});
    KVAULT_TRY(std::vector<std::byte> bytes, file.read(0, n));
    const Result<> parsed = file.parse(bytes);
    if (!parsed && (parsed.error().code != Errc::truncated || n < size)) {
      return fail(parsed.error().code, message(path.native(), ": ", parsed.error().message));
    }
    if (!parsed) continue;
    bytes.resize(file.head_.size());
    std::copy(bytes.begin(), bytes.end(), file.head_.begin());
    return file;
  }
}

Result<> Gguf::parse(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  values_.clear();
  tensors_.clear();
  KVAULT_TRY(const std::uint32_t magic, reader.take<std::uint32_t>());
  if (magic != kMagic) return fail(Errc::unknown_format, "it does not begin with GGUF");
  KVAULT_TRY(const std::uint32_t version, reader.take<std::uint32_t>());
  if (version < 2 || version > 3) {
    return fail(Errc::unknown_format, message("GGUF version ", version, "; 2 and 3 are known"));
  }
  KVAULT_TRY(const std::uint64_t n_tensor, reader.take_count("tensors:"));
  KVAULT_TRY(const std::uint64_t n_value, reader.take_count("metadata entries:"));
  for (std::uint64_t i = 0; i < n_value; ++i) {
    KVAULT_TRY(std::string key, reader.take_text());
    KVAULT_TRY(Value value, take_value(reader));
    values_.insert_or_assign(std::move(key), std::move(value));
  }
  for (std::uint64_t i = 0; i < n_tensor; ++i) {
    KVAULT_TRY(GgufTensor tensor, take_tensor(reader));
    tensors_.push_back(std::move(tensor));
  }
  const std::int64_t alignment = number("general.alignment").value_or(32);
  if (alignment < 1 || alignment > 65536) {
    return reader.wrong("an alignment of", static_cast<std::uint64_t>(alignment));
  }
  const auto step = static_cast<std::uint64_t>(alignment);
  data_offset_ = (reader.offset() + step - 1) / step * step;
  for (GgufTensor& tensor : tensors_) {
    if (tensor.offset_bytes > file_bytes_ || data_offset_ + tensor.offset_bytes > file_bytes_) {
      return fail(Errc::corrupt,
                  message("tensor ", tensor.name, " lies past the end of ", file_bytes_, " bytes"));
    }
    tensor.offset_bytes += data_offset_;
  }
  head_.resize(reader.offset());
  return {};
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
  const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                  [name](const GgufTensor& tensor) { return tensor.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

std::optional<std::int64_t> Gguf::number(const std::string& key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return {};
  const auto* value = std::get_if<std::int64_t>(&found->second);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<std::string> Gguf::text(const std::string& key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return {};
  const auto* value = std::get_if<std::string>(&found->second);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::vector<std::int64_t> Gguf::numbers(const std::string& key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return {};
  if (const auto* one = std::get_if<std::int64_t>(&found->second)) return {*one};
  const auto* list = std::get_if<std::vector<std::int64_t>>(&found->second);
  return list == nullptr ? std::vector<std::int64_t>{} : *list;
}

Result<std::vector<std::byte>> Gguf::read(std::uint64_t offset_bytes,
                                          std::size_t size_bytes) const {
  std::ifstream file(path_, std::ios::binary);
  std::vector<std::byte> bytes(size_bytes);
  file.seekg(static_cast<std::streamoff>(offset_bytes));
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size_bytes));
  if (!file) {
    return fail(Errc::truncated,
                message(path_.native(), " has no ", size_bytes, " bytes at byte ", offset_bytes));
  }
  return bytes;
}

}  // namespace kvault::llama
