#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/half.hpp"
#include "core/cpu/ahead.hpp"
#include "core/cpu/instruction_set.hpp"
#include "core/layout/scheme.hpp"

// The inner loops of attention over coded pages, one set per instruction set. All of them work on
// cells of four bytes, the unit that one lane of an integer dot product takes:
//
//   form    K cell                    V cell                  other side
//   bytes   4 codes of a token, u8    4 tokens of a dim, s8   two planes of digits: high, low byte
//   words   2 codes of a token, s16   2 tokens of a dim, s16  one plane of s16
//
// A tile is [n_step][n_item] cells: items are tokens for K and dims for V, in natural order, and a
// lane sums over the steps. A code never meets a float before its sum is complete, so sums are
// exact and do not depend on their order: not on the number of rows, not on vector length.

namespace kvault::cpu {

enum class CellForm : std::uint8_t { bytes, words };

/// Cells of one plane of one row: enough for the widest head, constant so that the inner loop
/// addresses every plane of its rows from one pointer.
constexpr std::size_t plane_cells(CellForm form) {
  return KVAULT_HEAD_DIM_MAX / (form == CellForm::bytes ? 4 : 2);
}
constexpr std::size_t n_plane(CellForm form) { return form == CellForm::bytes ? 2 : 1; }
/// The same of the weights of a page's tokens.
constexpr std::size_t weight_cells(CellForm form) {
  return kPageTokens / (form == CellForm::bytes ? 4 : 2);
}

/// Rows are taken in groups of up to as many, and those that a last group lacks may be read:
/// queries and weights have memory for them.
constexpr std::size_t kRowGroupMax = 8;

/// The codes plane of a block, to be unpacked.
struct PackedCodes {
  Scheme scheme;
  std::uint32_t padded_dim;
  const std::byte* codes;
};

/// A query row as integers: q = factor * digits. The level of a code is centred by what its sum
/// starts from: sum over dims of (level - start_level) * q, plus half where the centre is 63.5.
struct QueryRow {
  float factor;           ///< what one unit of the digits counts in a logit
  float half;             ///< added to the integer sum
  std::int32_t start[2];  ///< of the sum over each plane
};

/// logits[n_row][128] = factor * (sum + half) * token_factor[t] + offset[row]
struct KeyLogits {
  PackedCodes codes;           ///< 16 bytes past them may be read
  const std::uint32_t* query;  ///< [n_row][n_plane][plane_cells]
  const QueryRow* rows;        ///< [n_row]
  const float* token_factor;   ///< [128]
  const float* offset;         ///< [n_row]
  float* logits;               ///< [n_row][128]
  std::size_t n_row;
  std::size_t n_step;   ///< padded_dim / codes of a cell
  std::uint32_t* tile;  ///< scratch: a strip, at most a page's cells of bytes
  Ahead ahead;
};

/// Running softmax of one row: sum of exp(logit - maximum).
struct SoftmaxState {
  float maximum;  ///< of the logits, or somewhat less: which, changes nothing but rounding
  float sum;
};

/// Takes the logits [n_row][128] of a page into the running softmax. Where the page's values are
/// coded, writes the probabilities as integers too: p[t] * token_factor[t] = factor * weight[t].
struct PageSoftmax {
  float* logits;         ///< -infinity: invisible. Without token_factor replaced by
                         ///< p = exp(logit - maximum)
  SoftmaxState* states;  ///< [n_row]
  float* rescale;        ///< [n_row]: what earlier sums are to be multiplied by
  float* mass;           ///< [n_row]: the sum over this page alone
  std::size_t n_row;
  const float* token_factor;  ///< [128], or null: no weights are wanted
  std::uint32_t* weights;     ///< [n_row][n_plane][weight_cells]
  float* factor;              ///< [n_row]
  Ahead ahead;
};

/// out[n_row][padded_dim] += factor[row] * sum over tokens of weight * level + mass[row] * mean
struct ValueSums {
  PackedCodes codes;
  const std::uint32_t* weights;  ///< [n_row][n_plane][weight_cells]
  const float* factor;           ///< [n_row]
  const float* mass;             ///< [n_row]
  const float* mean;             ///< [padded_dim], or null: zeros
  float* out;                    ///< [n_row][stride]
  std::size_t stride;
  std::size_t n_row;
  std::uint32_t* tile;  ///< scratch, as for keys
  Ahead ahead;
};

/// Rows of a raw block, of which the first n_valid exist.
struct RawRows {
  RowType type;
  const std::byte* rows;  ///< [128][head_dim]
  std::size_t head_dim;
  std::size_t n_valid;
};

/// logits[n_row][128] = factor * q.k; 0 from n_valid on
struct RawKeyLogits {
  RawRows keys;
  const float* q;  ///< [n_row][stride]
  std::size_t stride;
  float factor;
  float* logits;
  std::size_t n_row;
  Ahead ahead;
};

/// out[n_row][head_dim] += sum over the valid tokens of p[row][t] * v[t]
struct RawValueSums {
  RawRows values;
  const float* probabilities;  ///< [n_row][128]
  float* out;                  ///< [n_row][stride]
  std::size_t stride;
  std::size_t n_row;
  Ahead ahead;
};

/// out[n] = factor * halves[n]. pre: n % 16 == 0, as everywhere below
struct WidenHalves {
  const Half* halves;
  float* out;
  std::size_t n;
  float factor;
};

/// A row of queries as digits, in the order in which the codes of a scheme meet them.
struct QueryDigits {
  const float* q;  ///< [n]
  std::size_t n;
  bool is_q8;
  std::uint32_t* cells;  ///< [n_plane][plane_cells]
};
/// What one digit counts, what was multiplied by before rounding, and the sum of a plane's digits.
/// The unit is 0, and so is every digit, where the row is below 1e-30: its reciprocal might be no
/// float.
struct DigitSums {
  float unit;
  float per_unit;
  std::int32_t plane[2];
};

/// out[n_row] = factor * <rows[row], x>
struct RowDots {
  const float* rows;  ///< [n_row][stride]
  std::size_t stride;
  const float* x;  ///< [n]
  std::size_t n;
  float factor;
  float* out;
  std::size_t n_row;
};

/// What a thread's registers were set to before, which may be another library's on it: amx, the
/// shapes of its tiles.
struct alignas(64) ThreadSetting {
  std::byte bytes[64];
};

struct AttendKernels {
  CellForm form;
  /// Before and after key_logits and value_sums, on the thread that calls them. n_row: the rows of
  /// the calls in between, or kRowGroupMax where they are more.
  void (*enter)(std::size_t n_row, ThreadSetting& before);
  void (*leave)(const ThreadSetting& before);
  void (*key_logits)(const KeyLogits& args);
  void (*page_softmax)(const PageSoftmax& args);
  void (*value_sums)(const ValueSums& args);
  void (*raw_key_logits)(const RawKeyLogits& args);
  void (*raw_value_sums)(const RawValueSums& args);
  void (*widen_halves)(const WidenHalves& args);
  void (*row_dots)(const RowDots& args);
  DigitSums (*query_digits)(const QueryDigits& args);
  /// The greatest of x[n] and 0.
  float (*greatest)(const float* x, std::size_t n);
  /// x[n] *= factor
  void (*scale)(float* x, std::size_t n, float factor);
  /// x[n] += factor * y[n]
  void (*add_scaled)(float* x, const float* y, std::size_t n, float factor);
};

/// pre: the build holds `set` and the processor supports it
AttendKernels attend_kernels(InstructionSet set);

// The parts of the table, each from the source of its name.
struct CodedKernels {
  CellForm form;
  void (*enter)(std::size_t n_row, ThreadSetting& before);
  void (*leave)(const ThreadSetting& before);
  void (*key_logits)(const KeyLogits& args);
  void (*value_sums)(const ValueSums& args);
};
struct VectorKernels {
  void (*widen_halves)(const WidenHalves& args);
  void (*row_dots)(const RowDots& args);
  float (*greatest)(const float* x, std::size_t n);
  void (*scale)(float* x, std::size_t n, float factor);
  void (*add_scaled)(float* x, const float* y, std::size_t n, float factor);
};
struct RawKernels {
  void (*key_logits)(const RawKeyLogits& args);
  void (*value_sums)(const RawValueSums& args);
};
CodedKernels coded_kernels(InstructionSet set);
/// AttendKernels::page_softmax
using PageSoftmaxKernel = void (*)(const PageSoftmax& args);
PageSoftmaxKernel page_softmax_kernel(InstructionSet set);
/// AttendKernels::query_digits
using QueryDigitsKernel = DigitSums (*)(const QueryDigits& args);
QueryDigitsKernel query_digits_kernel(InstructionSet set);
RawKernels raw_kernels(InstructionSet set);
VectorKernels vector_kernels(InstructionSet set);

}  // namespace kvault::cpu
