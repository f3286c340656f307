#include "tools/model/fineweb.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

#include "core/base/assert.hpp"
#include "tools/model/hash.hpp"
#include "tools/model/matmul.hpp"

namespace kvault::tools {
namespace {

constexpr std::size_t kWidth = FinewebModel::kWidth;
constexpr std::size_t kDim = FinewebModel::kHeadDim;
constexpr std::size_t kHalf = kDim / 2;
constexpr double kRopeBase = 10000.0;
constexpr float kLogitCap = 30.0F;
constexpr std::uint64_t kTokensSizeMax = std::uint64_t{1} << 30U;

/// u / sqrt(mean(u^2) + epsilon), row by row of `width`.
void normalise(std::span<const float> rows, std::size_t width, std::span<float> out) {
  KVAULT_ASSERT(rows.size() == out.size() && rows.size() % width == 0);
  for (std::size_t first = 0; first < rows.size(); first += width) {
    double sum = 0;
    for (std::size_t i = 0; i < width; ++i) sum += double{rows[first + i]} * rows[first + i];
    const double mean = sum / static_cast<double>(width);
    const double epsilon = std::numeric_limits<float>::epsilon();
    const auto factor = static_cast<float>(1.0 / std::sqrt(mean + epsilon));
    for (std::size_t i = 0; i < width; ++i) out[first + i] = rows[first + i] * factor;
  }
}

/// Turns the pairs (i, i + 32) of every head of every token by minus its position's angle.
/// rows: [n_token][n_head][64]; `position` of the first token.
void rotate(std::span<float> rows, std::size_t n_head, std::uint64_t position) {
  std::array<double, kHalf> frequencies;
  for (std::size_t i = 0; i < kHalf; ++i) {
    frequencies[i] = std::pow(kRopeBase, -2.0 * static_cast<double>(i) / kDim);
  }
  std::array<float, kHalf> cosines;
  std::array<float, kHalf> sines;
  for (std::size_t first = 0; first < rows.size(); first += n_head * kDim) {
    const auto t = static_cast<double>(position + first / (n_head * kDim));
    for (std::size_t i = 0; i < kHalf; ++i) {
      cosines[i] = static_cast<float>(std::cos(t * frequencies[i]));
      sines[i] = static_cast<float>(std::sin(t * frequencies[i]));
    }
    for (std::size_t h = 0; h < n_head; ++h) {
      float* u = &rows[first + h * kDim];
      for (std::size_t i = 0; i < kHalf; ++i) {
        const float low = u[i];
        const float high = u[i + kHalf];
        u[i] = low * cosines[i] + high * sines[i];
        u[i + kHalf] = -low * sines[i] + high * cosines[i];
      }
    }
  }
}

/// target += weights * source, channel by channel; weights [kWidth].
void add_scaled(const float* weights, std::span<const float> source, std::span<float> target) {
  KVAULT_ASSERT(source.size() == target.size());
  for (std::size_t i = 0; i < source.size(); ++i) target[i] += weights[i % kWidth] * source[i];
}

}  // namespace

struct FinewebModel::Stream {
  std::size_t n = 0;
  std::uint64_t position = 0;
  std::vector<float> x;       ///< [n][kWidth]
  std::vector<float> normed;  ///< [n][kWidth]
  std::vector<float> update;  ///< [n][kWidth]
};

Result<std::unique_ptr<FinewebModel>> FinewebModel::open(const std::filesystem::path& directory) {
  KVAULT_TRY(const Safetensors file, Safetensors::open(directory / "model.safetensors"));
  std::unique_ptr<FinewebModel> model(new FinewebModel());
  KVAULT_CHECK(model->read_weights(file));
  model->layers_.assign(kLayers, kvault_layer{.kind = KVAULT_FULL_ATTENTION,
                                              .n_head = kHeads,
                                              .n_kv_head = kKvHeads,
                                              .key_head_dim = kHeadDim,
                                              .value_head_dim = kHeadDim,
                                              .window = 0,
                                              .key_scheme = KVAULT_RAW,
                                              .value_scheme = KVAULT_RAW});
  model->identity_ = {{"model", "fineweb-hd64"},
                      {"weights", "xxh3:" + hex_of(file.hash())},
                      {"rope", "half-split 10000"},
                      {"vocabulary", "fineweb sp" + std::to_string(kVocab)}};
  return model;
}

Result<> FinewebModel::read_weights(const Safetensors& file) {
  using Shape = std::vector<std::uint64_t>;
  const auto read = [&file](const std::string& name, const Shape& shape) {
    return file.read(name, shape);
  };
  constexpr std::uint64_t kKvWidth = kKvHeads * kHeadDim;
  KVAULT_TRY(embedding_, read("tok_emb.weight", {kVocab, kWidth}));
  KVAULT_TRY(skip_weights_, read("skip_weights", {kBlocks, kWidth}));
  KVAULT_TRY(repeat_scales_, read("repeat_scales", {kLayers, kWidth}));
  KVAULT_TRY(repeat_shifts_, read("repeat_shifts", {kLayers, kWidth}));
  for (std::uint32_t b = 0; b < kBlocks; ++b) {
    const std::string prefix = message("blocks.", b, ".");
    Block block;
    KVAULT_TRY(block.q, read(prefix + "attn.c_q.weight", {kWidth, kWidth}));
    KVAULT_TRY(block.k, read(prefix + "attn.c_k.weight", {kKvWidth, kWidth}));
    KVAULT_TRY(block.v, read(prefix + "attn.c_v.weight", {kKvWidth, kWidth}));
    KVAULT_TRY(block.proj, read(prefix + "attn.proj.weight", {kWidth, kWidth}));
    KVAULT_TRY(block.q_gain, read(prefix + "attn.q_gain", {kHeads}));
    KVAULT_TRY(block.attn_scale, read(prefix + "attn_scale", {kWidth}));
    KVAULT_TRY(block.mlp_scale, read(prefix + "mlp_scale", {kWidth}));
    KVAULT_TRY(block.resid_mix, read(prefix + "resid_mix", {2, kWidth}));
    KVAULT_TRY(block.fc, read(prefix + "mlp.fc.weight", {kHidden, kWidth}));
    KVAULT_TRY(block.mlp_proj, read(prefix + "mlp.proj.weight", {kWidth, kHidden}));
    blocks_.push_back(std::move(block));
  }
  return {};
}

FinewebModel::AttentionWeights FinewebModel::attention_weights(std::uint32_t layer) const {
  KVAULT_ASSERT(layer < kLayers);
  const Block& block = blocks_[layer % kBlocks];
  return {.q = block.q,
          .k = block.k,
          .proj = block.proj,
          .q_gain = block.q_gain,
          .attn_scale = block.attn_scale};
}

Result<> FinewebModel::attend(std::uint32_t layer, Stream& stream, AttentionPort& attention) const {
  const Block& block = blocks_[layer % kBlocks];
  const std::size_t n = stream.n;
  std::vector<float> q(n * kHeads * kDim);
  std::vector<float> k(n * kKvHeads * kDim);
  std::vector<float> v(n * kKvHeads * kDim);
  std::vector<float> o(n * kHeads * kDim);
  normalise(stream.x, kWidth, stream.normed);
  matmul({n, kWidth, kHeads * kDim}, stream.normed, block.q, q);
  matmul({n, kWidth, kKvHeads * kDim}, stream.normed, block.k, k);
  matmul({n, kWidth, kKvHeads * kDim}, stream.normed, block.v, v);
  normalise(q, kDim, q);
  normalise(k, kDim, k);
  rotate(q, kHeads, stream.position);
  rotate(k, kKvHeads, stream.position);
  for (std::size_t i = 0; i < q.size(); ++i) q[i] *= block.q_gain[i / kDim % kHeads];
  KVAULT_CHECK(attention.append_attend(
      layer, {.n_token = static_cast<std::uint32_t>(n), .q = q, .keys = k, .values = v, .out = o}));
  matmul({n, kHeads * kDim, kWidth}, o, block.proj, stream.update);
  add_scaled(block.attn_scale.data(), stream.update, stream.x);
  return {};
}

void FinewebModel::run_mlp(const Block& block, Stream& stream) const {
  std::vector<float> hidden(stream.n * kHidden);
  normalise(stream.x, kWidth, stream.normed);
  matmul({stream.n, kWidth, kHidden}, stream.normed, block.fc, hidden);
  for (float& h : hidden) {
    h = std::max(h, 0.0F);
    h *= h;
  }
  matmul({stream.n, kHidden, kWidth}, hidden, block.mlp_proj, stream.update);
  add_scaled(block.mlp_scale.data(), stream.update, stream.x);
}

Result<> FinewebModel::forward(std::span<const std::uint32_t> tokens, AttentionPort& attention,
                               std::uint32_t n_logit, std::span<float> logits) const {
  KVAULT_CHECK(check_forward(*this, tokens, n_logit, logits));
  const std::size_t size = tokens.size() * kWidth;
  Stream stream{.n = tokens.size(),
                .position = attention.n_token(),
                .x = std::vector<float>(size),
                .normed = std::vector<float>(size),
                .update = std::vector<float>(size)};
  std::vector<float>& x = stream.x;
  for (std::size_t i = 0; i < stream.n; ++i) {
    const float* row = &embedding_[tokens[i] * kWidth];
    std::copy(row, row + kWidth, &x[i * kWidth]);
  }
  normalise(x, kWidth, x);
  const std::vector<float> x0 = x;
  std::vector<std::vector<float>> skips;
  for (std::uint32_t e = 0; e < kLayers; ++e) {
    const Block& block = blocks_[e % kBlocks];
    if (e >= kBlocks) {
      add_scaled(&skip_weights_[(e - kBlocks) * kWidth], skips.back(), x);
      skips.pop_back();
    }
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t c = i % kWidth;
      x[i] = block.resid_mix[c] * x[i] + block.resid_mix[kWidth + c] * x0[i];
    }
    KVAULT_CHECK(attend(e, stream, attention));
    run_mlp(block, stream);
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t c = e * kWidth + i % kWidth;
      x[i] = x[i] * repeat_scales_[c] + repeat_shifts_[c];
    }
    if (e < kBlocks) skips.push_back(x);
  }
  if (n_logit == 0) return {};
  normalise(x, kWidth, stream.normed);
  const std::size_t skipped = (stream.n - n_logit) * kWidth;
  matmul({n_logit, kWidth, kVocab}, std::span(stream.normed).subspan(skipped), embedding_, logits);
  for (float& logit : logits) logit = kLogitCap * std::tanh(logit / kLogitCap);
  return {};
}

Result<std::vector<std::uint32_t>> read_tokens(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "tokens.bin";
  KVAULT_TRY(const std::vector<std::byte> bytes, read_file(path, kTokensSizeMax));
  std::vector<std::uint32_t> tokens(bytes.size() / 2);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = std::to_integer<std::uint32_t>(bytes[2 * i]) |
                std::to_integer<std::uint32_t>(bytes[2 * i + 1]) << 8U;
    if (tokens[i] >= FinewebModel::kVocab) {
      return fail(Errc::out_of_range, message(path.native(), ": token ", i, " is ", tokens[i]));
    }
  }
  return tokens;
}

}  // namespace kvault::tools
