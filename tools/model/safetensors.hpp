#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"

namespace kvault::tools {

/// The element types of a safetensors file that are read.
enum class TensorType : std::uint8_t { f16, bf16, f32 };

/// One tensor: where its elements lie in the file, row-major, and its shape.
struct Tensor {
  TensorType type = TensorType::f32;
  std::vector<std::uint64_t> shape;
  std::size_t offset_bytes = 0;  ///< from the start of the file
  std::size_t size_bytes = 0;
};

/// A safetensors file in memory: 8 bytes header length, a JSON header, then the data. Every offset
/// is checked when it is parsed, so that reading a tensor only fails for a wrong name or shape.
/// Owns its bytes; immutable, so any number of threads may read it.
class Safetensors {
 public:
  /// Errc::truncated or corrupt where lengths and offsets do not hold, unknown_format for an
  /// element type not read here, limit_exceeded for a header out of proportion.
  static Result<Safetensors> parse(std::vector<std::byte> file);
  static Result<Safetensors> open(const std::filesystem::path& path);

  const std::map<std::string, Tensor, std::less<>>& tensors() const { return tensors_; }
  /// The elements as float. Errc::not_found, or shape_mismatch where `shape` is another.
  Result<std::vector<float>> read(std::string_view name,
                                  std::span<const std::uint64_t> shape) const;
  /// XXH3 of the whole file.
  std::uint64_t hash() const;

 private:
  Safetensors() = default;

  std::vector<std::byte> file_;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

/// The whole file; Errc::not_found, io, or limit_exceeded above `size_bytes_max`.
Result<std::vector<std::byte>> read_file(const std::filesystem::path& path,
                                         std::uint64_t size_bytes_max);

}  // namespace kvault::tools
