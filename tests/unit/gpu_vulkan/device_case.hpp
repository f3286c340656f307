#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "core/layout/block_layout.hpp"
#include "gpu_vulkan/vulkan_device.hpp"
#include "tests/support/random.hpp"

namespace kvault::test {

using Bytes = std::vector<std::byte>;

inline Bytes random_bytes(std::size_t n, std::uint64_t seed = 1) {
  Random random(seed);
  Bytes bytes(n);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  return bytes;
}

inline std::unique_ptr<Device> open_device(std::shared_ptr<const vulkan::Context> context) {
  Result<std::unique_ptr<Device>> device = vulkan::open_device(std::move(context));
  REQUIRE(device);
  return std::move(*device);
}

inline std::unique_ptr<Buffer> allocate(Device& device, std::uint64_t size_bytes) {
  Result<std::unique_ptr<Buffer>> buffer = device.allocate({.size_bytes = size_bytes});
  REQUIRE(buffer);
  return std::move(*buffer);
}

inline Bytes download(Device& device, const Buffer& buffer) {
  Bytes bytes(buffer.size_bytes());
  const Result<Ticket> ticket = device.download(buffer, 0, bytes);
  REQUIRE(ticket);
  REQUIRE(device.wait(*ticket));
  return bytes;
}

/// A raw block of a small head, and every verb called on it.
class DeviceCase {
 public:
  static constexpr std::uint32_t kHeadDim = 64;
  static constexpr std::string_view kVerbs[] = {"upload", "download", "encode", "attend",
                                                "reconstruct"};

  explicit DeviceCase(Device& device) : device_(device) {
    const std::vector<float> values = Random(3).normals(kPageTokens * kHeadDim);
    rows_.resize(values.size() * sizeof(float));
    std::memcpy(rows_.data(), values.data(), rows_.size());
    raw_ = allocate(device, rows_.size());
    coded_ = allocate(device, rows_.size());
    REQUIRE(device.upload(*raw_, 0, rows_));
  }

  /// Returns once the verb's results are there, or its error or that of the wait.
  Result<> run(std::string_view verb) {
    KVAULT_TRY(const Ticket ticket, start(verb));
    return device_.wait(ticket);
  }

  Result<Ticket> start(std::string_view verb) {
    if (verb == "upload") return device_.upload(*raw_, 0, rows_);
    if (verb == "download") return device_.download(*raw_, 0, bytes_);
    Buffer* const buffers[] = {raw_.get(), coded_.get()};
    const BlockRef raw = {0, 0, BlockFormat::raw(RowType::f32)};
    const BlockRef coded = {0, 1, BlockFormat::coded(Scheme::tq4, false)};
    if (verb == "encode") {
      const EncodeBlock block = {raw, coded};
      return device_.encode({.head_dim = kHeadDim,
                             .buffers = buffers,
                             .blocks = {&block, 1},
                             .equaliser = {},
                             .outcomes = {&outcome_, 1}});
    }
    const Buffer* const sources[] = {raw_.get()};
    if (verb == "attend") {
      const PageRef page = {raw, raw};
      const AttendSequence sequence = {.n_q = 1,
                                       .q = q_,
                                       .pages = {&page, 1},
                                       .first_page = 0,
                                       .n_token = kPageTokens,
                                       .first_q_position = kPageTokens,
                                       .mask = {},
                                       .equaliser = {},
                                       .out = out_,
                                       .lse = {}};
      return device_.attend({.n_head = 1,
                             .n_kv_head = 1,
                             .key_head_dim = kHeadDim,
                             .value_head_dim = kHeadDim,
                             .softmax_scale = 0.125F,
                             .buffers = sources,
                             .sequences = {&sequence, 1}});
    }
    REQUIRE(verb == "reconstruct");
    return device_.reconstruct({.head_dim = kHeadDim,
                                .buffers = sources,
                                .blocks = {&raw, 1},
                                .equaliser = {},
                                .row_type = RowType::f32,
                                .rows = bytes_});
  }

  const Bytes& rows() const { return rows_; }
  const Buffer& coded() const { return *coded_; }
  /// What download and reconstruct write to.
  Bytes& bytes() { return bytes_; }
  std::vector<float>& out() { return out_; }

 private:
  Device& device_;
  std::unique_ptr<Buffer> raw_;
  std::unique_ptr<Buffer> coded_;
  Bytes rows_;
  Bytes bytes_ = Bytes(kPageTokens * kHeadDim * sizeof(float));
  EncodeOutcome outcome_ = EncodeOutcome::does_not_fit;
  std::vector<float> q_ = std::vector<float>(kHeadDim, 1.0F);
  std::vector<float> out_ = std::vector<float>(kHeadDim);
};

}  // namespace kvault::test
