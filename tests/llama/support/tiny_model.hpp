#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/random.hpp"

namespace kvault::test {

/// Writes a GGUF file of random weights, part by part (ggml/docs/gguf.md, version 3).
class GgufWriter {
 public:
  enum class Weights { normal, ones, negative };

  void number(const std::string& key, std::uint32_t value) { entry(key, 4, raw(value)); }
  void real(const std::string& key, float value) { entry(key, 6, raw(value)); }
  void text(const std::string& key, const std::string& value) { entry(key, 8, string(value)); }
  template <class T>
  void list(const std::string& key, std::uint32_t type, const std::vector<T>& values) {
    std::string bytes = raw(type) + raw(static_cast<std::uint64_t>(values.size()));
    for (const T& value : values) {
      if constexpr (std::is_same_v<T, std::string>) {
        bytes += string(value);
      } else {
        bytes += raw(value);
      }
    }
    entry(key, 9, bytes);
  }
  void tensor(const std::string& name, const std::vector<std::uint64_t>& dims,
              Weights weights = Weights::normal) {
    tensors_.push_back({name, dims, weights});
  }

  void write(const std::filesystem::path& path, std::uint64_t seed, double scale) const {
    Random random(seed);
    std::string head = "GGUF" + raw(std::uint32_t{3}) +
                       raw(static_cast<std::uint64_t>(tensors_.size())) + raw(n_entry_) + entries_;
    std::string data;
    for (const Tensor& tensor : tensors_) {
      std::size_t n = 1;
      head += string(tensor.name) + raw(static_cast<std::uint32_t>(tensor.dims.size()));
      for (const std::uint64_t dim : tensor.dims) {
        head += raw(dim);
        n *= dim;
      }
      head += raw(std::uint32_t{0}) + raw(static_cast<std::uint64_t>(data.size()));
      std::vector<float> values(n, 1.0F);
      if (tensor.weights != Weights::ones) values = random.normals(n, scale);
      if (tensor.weights == Weights::negative) {
        for (float& value : values) value = -std::exp(value);
      }
      data.append(reinterpret_cast<const char*>(values.data()), n * sizeof(float));
      data.resize((data.size() + 31) / 32 * 32);
    }
    head.resize((head.size() + 31) / 32 * 32);
    std::ofstream file(path, std::ios::binary);
    file << head << data;
    REQUIRE(file.good());
  }

 private:
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dims;
    Weights weights;
  };

  template <class T>
  static std::string raw(T value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
  }
  static std::string string(const std::string& text) {
    return raw(static_cast<std::uint64_t>(text.size())) + text;
  }
  void entry(const std::string& key, std::uint32_t type, const std::string& bytes) {
    entries_ += string(key) + raw(type) + bytes;
    ++n_entry_;
  }

  std::string entries_;
  std::uint64_t n_entry_ = 0;
  std::vector<Tensor> tensors_;
};

inline constexpr std::uint32_t kTinyVocabulary = 264;

/// Sizes of a tiny model.
struct TinyShape {
  std::uint32_t n_layer = 2;
  std::uint32_t n_embd = 128;
  std::uint32_t n_head = 4;
  std::uint32_t n_kv_head = 2;
  std::uint32_t head_dim = 64;
  std::uint32_t n_ff = 256;
  std::uint32_t n_ctx = 16384;
  std::uint64_t seed = 1;
};

inline void add_common(GgufWriter& file, const std::string& arch, const TinyShape& shape) {
  file.text("general.architecture", arch);
  file.text("general.name", "tiny-" + arch);
  file.number(arch + ".block_count", shape.n_layer);
  file.number(arch + ".context_length", shape.n_ctx);
  file.number(arch + ".embedding_length", shape.n_embd);
  file.number(arch + ".vocab_size", kTinyVocabulary);
  file.real(arch + ".attention.layer_norm_rms_epsilon", 1e-5F);
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<std::int32_t> types = {2, 3, 3};
  for (int i = 0; i < 256; ++i) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", i);
    tokens.emplace_back(text);
    types.push_back(6);
  }
  for (const char* text : {"\xE2\x96\x81", "a", "b", "c", "d"}) {
    tokens.emplace_back(text);
    types.push_back(1);
  }
  file.text("tokenizer.ggml.model", "llama");
  file.list("tokenizer.ggml.tokens", 8, tokens);
  file.list("tokenizer.ggml.scores", 6, std::vector<float>(tokens.size()));
  file.list("tokenizer.ggml.token_type", 5, types);
  file.number("tokenizer.ggml.bos_token_id", 1);
  file.number("tokenizer.ggml.eos_token_id", 2);
  file.tensor("token_embd.weight", {shape.n_embd, kTinyVocabulary});
}

inline void add_attention_keys(GgufWriter& file, const std::string& arch, const TinyShape& shape) {
  file.number(arch + ".feed_forward_length", shape.n_ff);
  file.number(arch + ".attention.head_count", shape.n_head);
  file.number(arch + ".attention.key_length", shape.head_dim);
  file.number(arch + ".attention.value_length", shape.head_dim);
  file.real(arch + ".rope.freq_base", 10000.0F);
}

inline void add_attention(GgufWriter& file, const std::string& block, const TinyShape& shape,
                          bool has_head_norms) {
  file.tensor(block + "attn_q.weight", {shape.n_embd, shape.n_head * shape.head_dim});
  file.tensor(block + "attn_k.weight", {shape.n_embd, shape.n_kv_head * shape.head_dim});
  file.tensor(block + "attn_v.weight", {shape.n_embd, shape.n_kv_head * shape.head_dim});
  file.tensor(block + "attn_output.weight", {shape.n_head * shape.head_dim, shape.n_embd});
  if (!has_head_norms) return;
  file.tensor(block + "attn_q_norm.weight", {shape.head_dim}, GgufWriter::Weights::ones);
  file.tensor(block + "attn_k_norm.weight", {shape.head_dim}, GgufWriter::Weights::ones);
}

inline void add_feed_forward(GgufWriter& file, const std::string& block, const TinyShape& shape) {
  file.tensor(block + "ffn_norm.weight", {shape.n_embd}, GgufWriter::Weights::ones);
  file.tensor(block + "ffn_gate.weight", {shape.n_embd, shape.n_ff});
  file.tensor(block + "ffn_up.weight", {shape.n_embd, shape.n_ff});
  file.tensor(block + "ffn_down.weight", {shape.n_ff, shape.n_embd});
}

/// Plain: architecture llama.
inline void write_plain(const std::filesystem::path& path, const TinyShape& shape) {
  GgufWriter file;
  add_common(file, "llama", shape);
  add_attention_keys(file, "llama", shape);
  file.number("llama.attention.head_count_kv", shape.n_kv_head);
  file.number("llama.rope.dimension_count", shape.head_dim);
  file.tensor("output_norm.weight", {shape.n_embd}, GgufWriter::Weights::ones);
  file.tensor("output.weight", {shape.n_embd, kTinyVocabulary});
  for (std::uint32_t i = 0; i < shape.n_layer; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    file.tensor(block + "attn_norm.weight", {shape.n_embd}, GgufWriter::Weights::ones);
    add_attention(file, block, shape, false);
    add_feed_forward(file, block, shape);
  }
  file.write(path, shape.seed, 0.08);
}

/// Sliding window of 128 in five layers of six: architecture gemma3.
inline void write_sliding(const std::filesystem::path& path, TinyShape shape) {
  shape.n_layer = 6;
  GgufWriter file;
  add_common(file, "gemma3", shape);
  add_attention_keys(file, "gemma3", shape);
  file.number("gemma3.attention.head_count_kv", shape.n_kv_head);
  file.number("gemma3.attention.sliding_window", 128);
  file.tensor("output_norm.weight", {shape.n_embd}, GgufWriter::Weights::ones);
  for (std::uint32_t i = 0; i < shape.n_layer; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    for (const char* norm : {"attn_norm", "post_attention_norm", "post_ffw_norm"}) {
      file.tensor(block + norm + ".weight", {shape.n_embd}, GgufWriter::Weights::ones);
    }
    add_attention(file, block, shape, true);
    add_feed_forward(file, block, shape);
  }
  file.write(path, shape.seed, 0.08);
}

/// Convolutions in three layers of four: architecture lfm2.
inline void write_hybrid(const std::filesystem::path& path, TinyShape shape) {
  shape.n_layer = 4;
  shape.n_embd = shape.n_head * shape.head_dim;  // lfm2 has no head_dim of its own
  const std::vector<std::int32_t> n_kv_head = {0, 0, static_cast<std::int32_t>(shape.n_kv_head), 0};
  GgufWriter file;
  add_common(file, "lfm2", shape);
  add_attention_keys(file, "lfm2", shape);
  file.list("lfm2.attention.head_count_kv", 5, n_kv_head);
  file.number("lfm2.shortconv.l_cache", 3);
  file.tensor("token_embd_norm.weight", {shape.n_embd}, GgufWriter::Weights::ones);
  for (std::uint32_t i = 0; i < shape.n_layer; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    file.tensor(block + "attn_norm.weight", {shape.n_embd}, GgufWriter::Weights::ones);
    if (n_kv_head[i] > 0) {
      add_attention(file, block, shape, true);
    } else {
      file.tensor(block + "shortconv.conv.weight", {3, shape.n_embd});
      file.tensor(block + "shortconv.in_proj.weight", {shape.n_embd, 3 * shape.n_embd});
      file.tensor(block + "shortconv.out_proj.weight", {shape.n_embd, shape.n_embd});
    }
    add_feed_forward(file, block, shape);
  }
  file.write(path, shape.seed, 0.08);
}

/// No attention at all: architecture mamba.
inline void write_recurrent(const std::filesystem::path& path, TinyShape shape) {
  const std::uint64_t n_inner = 2 * shape.n_embd;
  constexpr std::uint64_t kState = 16;
  constexpr std::uint64_t kRank = 8;
  GgufWriter file;
  add_common(file, "mamba", shape);
  file.number("mamba.feed_forward_length", 0);
  file.number("mamba.attention.head_count", 0);
  file.number("mamba.ssm.conv_kernel", 4);
  file.number("mamba.ssm.inner_size", static_cast<std::uint32_t>(n_inner));
  file.number("mamba.ssm.state_size", kState);
  file.number("mamba.ssm.time_step_rank", kRank);
  file.tensor("output_norm.weight", {shape.n_embd}, GgufWriter::Weights::ones);
  for (std::uint32_t i = 0; i < shape.n_layer; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    file.tensor(block + "attn_norm.weight", {shape.n_embd}, GgufWriter::Weights::ones);
    file.tensor(block + "ssm_in.weight", {shape.n_embd, 2 * n_inner});
    file.tensor(block + "ssm_conv1d.weight", {4, n_inner});
    file.tensor(block + "ssm_conv1d.bias", {n_inner});
    file.tensor(block + "ssm_x.weight", {n_inner, kRank + 2 * kState});
    file.tensor(block + "ssm_dt.weight", {kRank, n_inner});
    file.tensor(block + "ssm_dt.bias", {n_inner});
    file.tensor(block + "ssm_a", {kState, n_inner}, GgufWriter::Weights::negative);
    file.tensor(block + "ssm_d", {n_inner});
    file.tensor(block + "ssm_out.weight", {n_inner, shape.n_embd});
  }
  file.write(path, shape.seed, 0.08);
}

/// The tiny models by what their memory is made of.
struct TinyModel {
  const char* name;
  std::function<void(const std::filesystem::path&, const TinyShape&)> write;
  bool is_recurrent = false;
  bool has_attention = true;
  bool slides = false;
};
inline std::vector<TinyModel> tiny_models() {
  return {{"plain", write_plain},
          {"sliding", write_sliding, false, true, true},
          {"hybrid", write_hybrid, true},
          {"recurrent", write_recurrent, true, false}};
}

inline std::vector<std::int32_t> random_tokens(std::size_t n, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::int32_t> tokens = {1};
  while (tokens.size() < n) tokens.push_back(static_cast<std::int32_t>(random.integer(3, 258)));
  return tokens;
}

}  // namespace kvault::test
