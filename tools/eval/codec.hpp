#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/layout/scheme.hpp"

namespace kvault::eval {

/// What is known of one kv head before a session begins: second moments of the rows of another
/// text, and of its weights. Row-major [head_dim][head_dim] in double.
struct HeadProfile {
  std::vector<double> key_covariance;
  std::vector<double> query_moment;  ///< mean of q q^T over tokens and the group's heads
  std::vector<double> value_covariance;
  std::vector<double> value_metric;  ///< W^T W of the output projection, summed over the group
  std::vector<double> key_energy;    ///< [head_dim], of the key weights' rows
  std::vector<double> query_energy;  ///< [head_dim], of the query weights' rows
};

/// One side of one layer and kv head over a whole text. Borrows; everything as the cache gets it.
struct HeadRows {
  Side side = Side::key;
  std::uint32_t layer = 0;
  std::uint32_t kv_head = 0;
  std::uint32_t head_dim = 0;
  std::uint32_t n_token = 0;
  std::span<const float> rows;  ///< [n_token][head_dim]
  std::uint32_t group = 0;
  std::span<const float> queries;  ///< keys only: [n_token][group][head_dim], else empty
  const HeadProfile* profile = nullptr;

  std::span<const float> row(std::size_t token) const {
    return rows.subspan(token * head_dim, head_dim);
  }
};

/// How rows are kept, as the rows that come back. Immutable; any thread.
class SideCodec {
 public:
  SideCodec() = default;
  SideCodec(const SideCodec&) = delete;
  SideCodec& operator=(const SideCodec&) = delete;
  virtual ~SideCodec() = default;

  /// All that a coded page stores, scales and means included, per element of its rows.
  virtual double bits_per_element(std::uint32_t head_dim) const = 0;
  /// What a session stores once per kv head.
  virtual double session_bits(std::uint32_t) const { return 0; }
  /// Rows to codes and back, out [n_token][head_dim] in the engine's domain. A row's page is its
  /// position over the page size; a last page that is not full is coded as it is.
  virtual void code(const HeadRows& in, std::span<float> out) const = 0;
};

/// What live use leaves raw: the first `n_sink` tokens, and for a query in page p the pages
/// p - tail_page + 1 .. p of 128 tokens. Nothing at all: `codec only`.
struct RawRows {
  std::uint32_t n_sink = 128;
  std::uint32_t n_tail_page = 2;
};

/// A codec for each side, by name; null: rows stay raw.
struct LabScheme {
  std::string name;
  std::shared_ptr<const SideCodec> key;
  std::shared_ptr<const SideCodec> value;
  std::uint32_t n_edge_layer = 0;  ///< so many layers at each end stay raw
  RawRows live;
  bool needs_profile = false;
};

inline constexpr double kRawBits = 16;

}  // namespace kvault::eval
