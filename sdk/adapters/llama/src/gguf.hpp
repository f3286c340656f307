#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/result.hpp"

namespace kvault::llama {

/// A tensor of a GGUF file.
struct GgufTensor {
  std::string name;
  std::vector<std::uint64_t> dims;  ///< fastest first
  std::uint32_t type = 0;           ///< enum ggml_type
  std::uint64_t offset_bytes = 0;   ///< in the file

  std::uint64_t n_row() const { return dims.size() > 1 ? dims[1] : 1; }
};

/// The head of a GGUF file (ggml/docs/gguf.md, versions 2 and 3): metadata and tensor table. Only
/// what an adapter asks for is kept: numbers, texts, and lists of numbers.
class Gguf {
 public:
  using Value = std::variant<std::int64_t, double, std::string, std::vector<std::int64_t>>;

  /// Errc::not_found, io; truncated, corrupt, unknown_format with the offset.
  static Result<Gguf> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t file_bytes() const { return file_bytes_; }
  /// Metadata and tensor table, as they are. [0, data_offset)
  std::span<const std::byte> head() const { return head_; }
  std::uint64_t data_offset() const { return data_offset_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const;

  std::optional<std::int64_t> number(const std::string& key) const;
  std::optional<std::string> text(const std::string& key) const;
  /// A list, or one number as a list of one; empty where there is none.
  std::vector<std::int64_t> numbers(const std::string& key) const;

  /// Bytes of the file. Errc::truncated where it ends before.
  Result<std::vector<std::byte>> read(std::uint64_t offset_bytes, std::size_t size_bytes) const;

 private:
  Result<> parse(std::span<const std::byte> bytes);

  std::filesystem::path path_;
  std::uint64_t file_bytes_ = 0;
  std::uint64_t data_offset_ = 0;
  std::vector<std::byte> head_;
  std::map<std::string, Value> values_;
  std::vector<GgufTensor> tensors_;
};

}  // namespace kvault::llama
