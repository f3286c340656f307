#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.hpp"

namespace kvault::tools {

/// One measured variant. Times are of one call on one layer for decode and prefill, of one page
/// (K and V, all kv heads) for encode and reconstruct, of a layer's bytes for upload. What does not
/// apply is empty: no integer dots, nothing to compare with.
struct BenchRow {
  std::string op;
  std::string device;
  std::string adapter;       ///< which of the backend's devices
  std::string adapter_kind;  ///< "discrete", "cpu", ...
  std::string driver;
  std::string preset;         ///< of kvault, or "ggml:q4_0"
  std::string layout;         ///< of a peer's K and V: "cache" or "head"; else empty
  std::string sparse_values;  ///< on, and "none left out" or "all left out"; empty: off
  std::string instruction_set;
  std::uint32_t head_dim = 0;
  std::uint32_t n_head = 0;
  std::uint32_t n_kv_head = 0;
  std::uint64_t n_token = 0;
  std::uint32_t n_q = 0;
  std::uint32_t n_sequence = 1;  ///< of a call
  std::uint32_t n_thread = 0;
  double time_us = 0;  ///< the median
  double time_min_us = 0;
  std::uint32_t n_repetition = 0;
  double stored_gb_per_s = 0;
  std::uint64_t set_size_bytes = 0;
  std::uint64_t page_size_bytes = 0;
  std::optional<double> read_bandwidth_gb_per_s = {};  ///< of the host's memory; of a GPU's: none
  std::optional<double> fraction_of_bandwidth = {};
  std::optional<double> port_limit_gb_per_s = {};
  std::optional<double> fraction_of_port_limit = {};
  std::optional<double> speedup_over_f16 = {};
  std::optional<double> input_gb_per_s = {};   ///< encode: f16 rows read
  std::optional<double> output_gb_per_s = {};  ///< reconstruct: f16 rows written
};

/// "k4v4 avx512 1T": what tells rows of one shape apart.
std::string label_of(const BenchRow& row);

/// A JSON list of objects.
std::string to_json(const std::vector<BenchRow>& rows);
Result<> write_rows(const std::filesystem::path& path, const std::vector<BenchRow>& rows);
/// From a list of rows, or from "rows" of a report's figures. Refuses, with the path, what to_json
/// has not written.
Result<std::vector<BenchRow>> read_rows(const std::filesystem::path& path);

}  // namespace kvault::tools
