#include "tools/demo/oracle_check.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include "core/layout/scheme.hpp"
#include "core/oracle/oracle.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

/// One kv head of one layer, as stored.
struct HeadBlocks {
  std::vector<sdk::Block> keys;    ///< [n_page]
  std::vector<sdk::Block> values;  ///< [n_page]
  std::vector<double> equaliser;   ///< [key_head_dim], or empty where no page is coded
};

struct HeadAddress {
  std::uint32_t layer = 0;
  std::uint32_t kv_head = 0;
};

bool is_raw(const sdk::Block& block) { return block.format <= KVAULT_F32; }

std::vector<oracle::BlockBytes> borrowed(const std::vector<sdk::Block>& blocks) {
  std::vector<oracle::BlockBytes> views;
  for (const sdk::Block& block : blocks) views.push_back({block.bytes, block.format});
  return views;
}

/// The equaliser, which the interface does not show: what a coded page decodes to without one,
/// over the rows that the cache says are in it. Rounded to binary16, which it is stored in.
Result<std::vector<double>> find_equaliser(const sdk::CacheView& cache, const HeadAddress& head,
                                           std::span<const sdk::Block> keys) {
  const kvault_layer& layer = cache.shape().layers[head.layer];
  const auto coded = std::find_if_not(keys.begin(), keys.end(), is_raw);
  if (coded == keys.end()) return std::vector<double>();
  const auto page = static_cast<std::uint64_t>(coded - keys.begin());
  KVAULT_TRY(const std::vector<double> equalised,
             oracle::decode_block({coded->bytes, coded->format}, false, layer.key_head_dim, {},
                                  oracle::Tables::standard()));
  const std::size_t width = std::size_t{layer.n_kv_head} * layer.key_head_dim;
  std::vector<float> rows(kPageTokens * width);
  KVAULT_CHECK(from_sdk(cache.read_rows(head.layer,
                                        {.side = KVAULT_KEY,
                                         .first_token = page * kPageTokens,
                                         .n_token = kPageTokens,
                                         .type = KVAULT_F32},
                                        std::as_writable_bytes(std::span(rows))),
                        "reading keys"));
  std::vector<double> equaliser(layer.key_head_dim);
  for (std::size_t i = 0; i < equaliser.size(); ++i) {
    double product = 0;
    double square = 0;
    for (std::size_t t = 0; t < kPageTokens; ++t) {
      const double row = rows[t * width + head.kv_head * layer.key_head_dim + i];
      product += equalised[t * layer.key_head_dim + i] * row;
      square += row * row;
    }
    equaliser[i] = square == 0 ? 1.0 : oracle::from_f16(oracle::to_f16(product / square));
  }
  return equaliser;
}

Result<HeadBlocks> read_blocks(const sdk::CacheView& cache, const HeadAddress& head) {
  HeadBlocks blocks;
  const std::uint64_t n_page = (cache.n_token() + kPageTokens - 1) / kPageTokens;
  for (const kvault_side side : {KVAULT_KEY, KVAULT_VALUE}) {
    std::vector<sdk::Block>& target = side == KVAULT_KEY ? blocks.keys : blocks.values;
    for (std::uint64_t page = 0; page < n_page; ++page) {
      const sdk::BlockAddress at{.side = side, .page = page, .kv_head = head.kv_head};
      KVAULT_TRY(sdk::Block block, from_sdk(cache.read_block(head.layer, at), "reading a block"));
      target.push_back(std::move(block));
    }
  }
  KVAULT_TRY(blocks.equaliser, find_equaliser(cache, head, blocks.keys));
  return blocks;
}

/// Every codebook wrong in the way a published one was: the outermost values too small.
oracle::Tables wrong_tables() {
  constexpr double kCentre = 63.5;
  constexpr double kFactor = 0.1739 / 0.2402;
  oracle::Tables tables = oracle::Tables::standard();
  for (const std::span<double> table :
       {std::span<double>(tables.t4), std::span<double>(tables.t3), std::span<double>(tables.t2)}) {
    table.front() = kCentre + (table.front() - kCentre) * kFactor;
    table.back() = kCentre + (table.back() - kCentre) * kFactor;
  }
  return tables;
}

/// What has no codebook is shown wrong pages instead: every full page's values are its neighbour's.
std::vector<oracle::BlockBytes> wrong_values(std::vector<oracle::BlockBytes> values,
                                             std::uint64_t n_token) {
  const auto n_full = static_cast<std::ptrdiff_t>(n_token / kPageTokens);
  if (n_full > 1) std::rotate(values.begin(), values.begin() + 1, values.begin() + n_full);
  return values;
}

bool has_codebook(const kvault_layer& layer) {
  const auto is_table = [](kvault_scheme scheme) {
    return scheme == KVAULT_TQ4 || scheme == KVAULT_TQ3 || scheme == KVAULT_TQ2;
  };
  return is_table(layer.key_scheme) || is_table(layer.value_scheme);
}

/// The part of one kv head in what was recorded: [n_q][n_head][..] to [n_q][group][..].
std::vector<float> part_of(std::span<const float> all, std::uint32_t n_q, std::uint32_t kv_head,
                           std::uint32_t n_kv_head) {
  const std::size_t size = all.size() / n_q / n_kv_head;
  std::vector<float> part;
  for (std::uint32_t i = 0; i < n_q; ++i) {
    const std::span<const float> rows =
        all.subspan((std::size_t{i} * n_kv_head + kv_head) * size, size);
    part.insert(part.end(), rows.begin(), rows.end());
  }
  return part;
}

Result<OracleOpinion> ask_about(const CacheAttention& attention, const HeadAddress& head) {
  const sdk::CacheView& cache = attention.cache();
  const kvault_layer& layer = cache.shape().layers[head.layer];
  const AttentionRecord& record = attention.records()[head.layer];
  KVAULT_TRY(const HeadBlocks blocks, read_blocks(cache, head));
  const std::vector<oracle::BlockBytes> keys = borrowed(blocks.keys);
  const std::vector<oracle::BlockBytes> values = borrowed(blocks.values);
  const std::vector<float> q = part_of(record.q, record.n_q, head.kv_head, layer.n_kv_head);
  const std::vector<float> out = part_of(record.out, record.n_q, head.kv_head, layer.n_kv_head);
  oracle::AttendInput input{
      .n_head = layer.n_head / layer.n_kv_head,
      .n_kv_head = 1,
      .key_head_dim = layer.key_head_dim,
      .value_head_dim = layer.value_head_dim,
      .softmax_scale = 1.0 / std::sqrt(static_cast<double>(layer.key_head_dim)),
      .n_q = record.n_q,
      .q = q,
      .key_blocks = keys,
      .value_blocks = values,
      .n_token = cache.n_token(),
      .first_q_position = static_cast<std::int64_t>(cache.n_token() - record.n_q),
      .causal = true,
      .mask_bits = {},
      .equaliser = blocks.equaliser};
  KVAULT_TRY(const oracle::AttendOutput truth, oracle::attend(input, oracle::Tables::standard()));
  const std::vector<oracle::BlockBytes> wrong =
      has_codebook(layer) ? values : wrong_values(values, cache.n_token());
  input.value_blocks = wrong;
  KVAULT_TRY(const oracle::AttendOutput control, oracle::attend(input, wrong_tables()));
  return OracleOpinion{.attention_error = oracle::worst_error(truth, out, layer.value_head_dim),
                       .control_error = oracle::worst_error(control, out, layer.value_head_dim)};
}

}  // namespace

Result<OracleOpinion> ask_oracle(const CacheAttention& attention,
                                 const std::vector<std::uint32_t>& layers) {
  OracleOpinion worst;
  for (const std::uint32_t layer : layers) {
    const std::uint32_t n_kv_head = attention.cache().shape().layers[layer].n_kv_head;
    for (std::uint32_t kv_head = 0; kv_head < n_kv_head; ++kv_head) {
      KVAULT_TRY(const OracleOpinion one,
                 ask_about(attention, {.layer = layer, .kv_head = kv_head}));
      // An infinite error has no place in JSON.
      worst.attention_error = std::max(worst.attention_error, std::min(one.attention_error, 1e9));
      worst.control_error = std::max(worst.control_error, std::min(one.control_error, 1e9));
    }
  }
  return worst;
}

}  // namespace kvault::tools
