#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/random.hpp"

namespace kvault::test {

/// States of llama.cpp sequences made from a description, byte by byte as llama.cpp v0.5.0 writes
/// them, and sharing nothing with the adapter: what it reads is compared with what went in.
struct BlobCache {
  std::uint32_t n_stream = 1;
  std::uint32_t stream = 0;  ///< the one that holds the cells
  std::vector<std::int32_t> positions;
  std::uint32_t n_layer = 2;
  std::uint32_t n_element = 64;  ///< of a row
  std::int32_t key_type = 1;
  std::int32_t value_type = 1;
  bool is_transposed = false;
  std::uint32_t ext_bytes = 0;
};

struct BlobRecurrent {
  bool has_cell = true;
  std::int32_t position = 0;
  std::uint32_t n_layer = 4;      ///< of the model
  std::uint32_t n_recurrent = 3;  ///< of them, recurrent
  std::uint64_t r_bytes = 24;
  std::uint64_t s_bytes = 0;
};

class BlobMaker {
 public:
  explicit BlobMaker(std::uint64_t seed) : random_(seed) {}

  std::string bytes;
  std::vector<std::vector<std::string>> keys;    ///< [cache][layer]: the rows as they lie there
  std::vector<std::vector<std::string>> values;  ///< the same

  void blob(std::int32_t seq_id) {
    seq_id_ = seq_id;
    u32(0xaf143cd8U);
    i32(seq_id);
  }
  void file(const std::vector<std::int32_t>& tokens, std::uint32_t version = 3) {
    u32(0x67677371U);
    u32(version);
    u32(static_cast<std::uint32_t>(tokens.size()));
    for (const std::int32_t token : tokens) i32(token);
  }
  void cache(const BlobCache& cache) {
    keys.emplace_back();
    values.emplace_back();
    u32(cache.n_stream);
    for (std::uint32_t stream = 0; stream < cache.n_stream; ++stream) {
      if (stream != cache.stream) {
        u32(0);
        continue;
      }
      u32(static_cast<std::uint32_t>(cache.positions.size()));
      if (!cache.positions.empty()) rows(cache);
    }
  }
  void recurrent(const BlobRecurrent& state) {
    u32(state.has_cell ? 1 : 0);
    if (state.has_cell) {
      i32(state.position);
      u32(0);
    }
    u32(0);
    u32(state.n_layer);
    for (const std::uint64_t width : {state.r_bytes, state.s_bytes}) {
      for (std::uint32_t i = 0; i < state.n_recurrent; ++i) {
        i32(0);
        u64(width);
        finite_noise(state.has_cell ? width / 4 : 0);
      }
    }
  }

 private:
  static std::uint64_t row_bytes(std::int32_t type, std::uint32_t n) {
    if (type == 8) return std::uint64_t{n} / 32 * 34;
    if (type == 2) return std::uint64_t{n} / 32 * 18;
    return std::uint64_t{n} * (type == 0 ? 4 : 2);
  }
  void rows(const BlobCache& cache) {
    for (const std::int32_t position : cache.positions) {
      i32(position);
      u32(1);
      if (cache.ext_bytes >= 8) {
        i32(position + 1000);
        i32(position + 2000);
      }
      if (cache.ext_bytes == 12) i32(position + 3000);
      i32(seq_id_);
    }
    u32(cache.is_transposed ? 1 : 0);
    u32(cache.n_layer);
    const std::size_t n = cache.positions.size();
    for (std::uint32_t layer = 0; layer < cache.n_layer; ++layer) {
      const std::uint64_t width = row_bytes(cache.key_type, cache.n_element);
      i32(cache.key_type);
      u64(width);
      keys.back().push_back(noise(n * width));
    }
    for (std::uint32_t layer = 0; layer < cache.n_layer; ++layer) {
      const std::uint64_t width = row_bytes(cache.value_type, cache.n_element);
      i32(cache.value_type);
      if (cache.is_transposed) {
        u32(cache.value_type == 0 ? 4 : 2);
        u32(cache.n_element);
      } else {
        u64(width);
      }
      values.back().push_back(noise(n * width));
    }
  }
  void u32(std::uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(value >> shift & 0xFFU);
  }
  void u64(std::uint64_t value) {
    u32(static_cast<std::uint32_t>(value));
    u32(static_cast<std::uint32_t>(value >> 32U));
  }
  void i32(std::int32_t value) { u32(static_cast<std::uint32_t>(value)); }
  void finite_noise(std::size_t n_float) {
    for (std::size_t i = 0; i < n_float; ++i) {
      u32(static_cast<std::uint32_t>(random_.next()) & 0xBFFFFFFFU);
    }
  }
  std::string noise(std::size_t n) {
    std::string text(n, '\0');
    for (char& byte : text) byte = static_cast<char>(random_.next());
    bytes += text;
    return text;
  }

  Random random_;
  std::int32_t seq_id_ = 0;
};

}  // namespace kvault::test
