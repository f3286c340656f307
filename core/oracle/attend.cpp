#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/oracle/oracle.hpp"

namespace kvault::oracle {
namespace {

/// The decoded rows of one kv head that exist, of all pages.
struct HeadRows {
  std::vector<double> keys;    ///< [n_row, key_head_dim]
  std::vector<double> values;  ///< [n_row, value_head_dim]
  /// [n_row]: the norm of what a coded key adds to its page's mean, equalised; 0 for a raw one
  std::vector<double> residual_norms;
};

/// One query row's result.
struct RowResult {
  std::span<double> out;  ///< [value_head_dim], zeros on entry
  double lse;
  double error_scale;
  double greatest_residual;  ///< of the visible keys
};

/// How many tokens the pages hold below n_token.
std::uint64_t row_count(const AttendInput& input) {
  const std::uint64_t first = input.first_page * kPageTokens;
  return input.n_token > first ? input.n_token - first : 0;
}

Result<> check(const AttendInput& input) {
  if (input.n_kv_head == 0 || input.n_head % input.n_kv_head != 0) {
    return fail(Errc::shape_mismatch,
                message(input.n_head, " heads over ", input.n_kv_head, " kv heads"));
  }
  if (input.q.size() != std::size_t{input.n_q} * input.n_head * input.key_head_dim) {
    return fail(Errc::shape_mismatch, message("q has ", input.q.size(), " entries"));
  }
  const std::size_t n_block = input.key_blocks.size();
  if (n_block != input.value_blocks.size() || n_block % input.n_kv_head != 0) {
    return fail(Errc::shape_mismatch, message(n_block, " key and ", input.value_blocks.size(),
                                              " value blocks for ", input.n_kv_head, " kv heads"));
  }
  if (row_count(input) > n_block / input.n_kv_head * kPageTokens) {
    return fail(Errc::incomplete, message(n_block / input.n_kv_head, " pages from page ",
                                          input.first_page, " do not reach ", input.n_token));
  }
  const std::size_t n_equaliser = input.equaliser.size();
  if (n_equaliser != 0 && n_equaliser != std::size_t{input.n_kv_head} * input.key_head_dim) {
    return fail(Errc::shape_mismatch, message("the equaliser has ", n_equaliser, " entries"));
  }
  if (!input.mask_bits.empty() && (input.mask_stride < input.n_token ||
                                   input.mask_bits.size() < input.n_q * input.mask_stride)) {
    return fail(Errc::shape_mismatch,
                message("a mask of ", input.mask_bits.size(), " and stride ", input.mask_stride,
                        " for ", input.n_q, " queries and ", input.n_token, " tokens"));
  }
  return {};
}

/// Whether a query sees the key at a position below n_token.
bool visible(const AttendInput& input, std::uint32_t query, std::uint64_t position) {
  const auto key_at = static_cast<std::int64_t>(position);
  const std::int64_t query_at = input.first_q_position + std::int64_t{query};
  if (input.causal && key_at > query_at) return false;
  if (input.window > 0 && key_at <= query_at - std::int64_t{input.window}) return false;
  return input.mask_bits.empty() || input.mask_bits[query * input.mask_stride + position] != 0;
}

/// Decodes one side of one kv head; pages of which no token exists are not touched.
Result<std::vector<double>> decode_side(const AttendInput& input, std::uint32_t kv_head,
                                        bool is_value, const Tables& tables,
                                        std::optional<Rotation>& rotation) {
  const std::span<const BlockBytes> blocks = is_value ? input.value_blocks : input.key_blocks;
  const std::uint32_t head_dim = is_value ? input.value_head_dim : input.key_head_dim;
  std::span<const double> equaliser;
  if (!is_value && !input.equaliser.empty()) {
    equaliser = input.equaliser.subspan(std::size_t{kv_head} * head_dim, head_dim);
  }
  std::vector<double> rows;
  for (std::size_t page = 0; page * kPageTokens < row_count(input); ++page) {
    const BlockBytes& block = blocks[page * input.n_kv_head + kv_head];
    KVAULT_TRY(const std::uint32_t bits, code_bits(block.format));
    if (bits != 0 && !rotation) {
      KVAULT_TRY(rotation, Rotation::create(head_dim));
    }
    KVAULT_TRY(const std::vector<double> decoded,
               decode_block(block, is_value, head_dim, equaliser, tables,
                            rotation ? &*rotation : nullptr));
    rows.insert(rows.end(), decoded.begin(), decoded.end());
  }
  return rows;
}

/// HeadRows::residual_norms of one kv head.
Result<std::vector<double>> residual_norms(const AttendInput& input, std::uint32_t kv_head,
                                           const Tables& tables) {
  const std::uint32_t head_dim = input.key_head_dim;
  std::vector<double> norms;
  for (std::size_t page = 0; page * kPageTokens < row_count(input); ++page) {
    const BlockBytes& block = input.key_blocks[page * input.n_kv_head + kv_head];
    KVAULT_TRY(const std::uint32_t bits, code_bits(block.format));
    if (bits == 0) {
      norms.resize(norms.size() + kPageTokens, 0.0);
      continue;
    }
    KVAULT_TRY(const EncodedRows rows, read_block(block, false, head_dim));
    for (std::size_t token = 0; token < kPageTokens; ++token) {
      double square = 0;
      for (std::size_t i = 0; i < head_dim; ++i) {
        const double value = value_of(rows.codes[token * head_dim + i], bits, tables);
        square += value * value;
      }
      norms.push_back(rows.scale[token] * step_of(bits, head_dim, tables) * std::sqrt(square));
    }
  }
  return norms;
}

/// softmax_scale |H S (q / e)|_inf / 32512, of which eta is made; 0 where no key is coded.
double query_rounding(const AttendInput& input, std::uint32_t kv_head, std::span<const double> q,
                      const std::optional<Rotation>& rotation) {
  if (!rotation) return 0;
  std::vector<double> equalised(q.begin(), q.end());
  for (std::size_t i = 0; i < q.size() && !input.equaliser.empty(); ++i) {
    equalised[i] /= input.equaliser[kv_head * q.size() + i];
  }
  std::vector<double> rotated(q.size());
  rotation->forward(equalised, rotated);
  double greatest = 0;
  for (const double entry : rotated) greatest = std::max(greatest, std::fabs(entry));
  return std::fabs(input.softmax_scale) * greatest / 32512.0;
}

double logit_of(const AttendInput& input, std::span<const double> q, const double* key) {
  double sum[4] = {0, 0, 0, 0};
  std::size_t i = 0;
  for (; i + 4 <= q.size(); i += 4) {
    for (std::size_t k = 0; k < 4; ++k) sum[k] += q[i + k] * key[i + k];
  }
  for (; i < q.size(); ++i) sum[0] += q[i] * key[i];
  const double logit = input.softmax_scale * ((sum[0] + sum[1]) + (sum[2] + sum[3]));
  const double cap = input.logit_softcap;
  return cap > 0 ? cap * std::tanh(logit / cap) : logit;
}

/// One query of one head: all logits, their maximum, then the sums.
void attend_row(const AttendInput& input, std::uint32_t query, std::span<const double> q,
                const HeadRows& head, RowResult& result) {
  std::vector<std::size_t> seen;
  std::vector<double> logits;
  double highest = -std::numeric_limits<double>::infinity();
  for (std::uint64_t row = 0; row < row_count(input); ++row) {
    if (!visible(input, query, input.first_page * kPageTokens + row)) continue;
    seen.push_back(row);
    logits.push_back(logit_of(input, q, &head.keys[row * input.key_head_dim]));
    highest = std::max(highest, logits.back());
  }
  result.lse = -std::numeric_limits<double>::infinity();
  result.error_scale = 0;
  result.greatest_residual = 0;
  if (seen.empty()) return;
  double sum = 0;
  for (double& logit : logits) {
    logit = std::exp(logit - highest);
    sum += logit;
  }
  double spread = 0;
  for (std::size_t k = 0; k < seen.size(); ++k) {
    const double* value = &head.values[seen[k] * input.value_head_dim];
    const double p = logits[k] / sum;
    result.greatest_residual = std::max(result.greatest_residual, head.residual_norms[seen[k]]);
    double square = 0;
    for (std::size_t i = 0; i < input.value_head_dim; ++i) {
      result.out[i] += p * value[i];
      square += value[i] * value[i];
    }
    spread += p * p * square;
  }
  double norm = 0;
  for (const double entry : result.out) norm += entry * entry;
  result.lse = highest + std::log(sum);
  result.error_scale = std::sqrt(std::max(norm, spread));
}

}  // namespace

Result<AttendOutput> attend(const AttendInput& input, const Tables& tables) {
  KVAULT_CHECK(check(input));
  const std::size_t n_row = std::size_t{input.n_q} * input.n_head;
  const std::size_t key_dim = input.key_head_dim;
  const std::size_t value_dim = input.value_head_dim;
  AttendOutput output;
  output.out.resize(n_row * value_dim);
  output.lse.resize(n_row);
  output.error_scale.resize(n_row);
  output.eta.resize(n_row);
  std::optional<Rotation> key_rotation;
  std::optional<Rotation> value_rotation;
  const std::uint32_t group = input.n_head / input.n_kv_head;
  for (std::uint32_t kv_head = 0; kv_head < input.n_kv_head; ++kv_head) {
    HeadRows head;
    KVAULT_TRY(head.keys, decode_side(input, kv_head, false, tables, key_rotation));
    KVAULT_TRY(head.values, decode_side(input, kv_head, true, tables, value_rotation));
    KVAULT_TRY(head.residual_norms, residual_norms(input, kv_head, tables));
    for (std::uint32_t query = 0; query < input.n_q; ++query) {
      for (std::uint32_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
        const std::size_t row = std::size_t{query} * input.n_head + h;
        const std::span<const float> given = input.q.subspan(row * key_dim, key_dim);
        const std::vector<double> q(given.begin(), given.end());
        RowResult result{std::span(output.out).subspan(row * value_dim, value_dim), 0, 0, 0};
        attend_row(input, query, q, head, result);
        output.lse[row] = result.lse;
        output.error_scale[row] = result.error_scale;
        output.eta[row] =
            query_rounding(input, kv_head, q, key_rotation) * result.greatest_residual;
      }
    }
  }
  return output;
}

}  // namespace kvault::oracle
