#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/half.hpp"
#include "core/base/result.hpp"
#include "kvault/kvault.hpp"
#include "tools/cli/array_input.hpp"

namespace kvault::tools {

/// `kvault attend` as typed.
struct AttendFlags {
  std::string key_path;
  std::string value_path;
  std::string q_path;
  std::string mask_path;
  std::string out_path;
  std::string lse_path;
  std::string preset = "k4v4";
  std::string device = "cpu";
  std::string equalise = "learn";       ///< learn, none or a file
  std::string raw_pages = "sink,tail";  ///< or none
  std::optional<std::uint64_t> valid_length;
  std::optional<float> softmax_scale;
  float logit_softcap = 0;
  float sparse_threshold = 0;
  std::uint32_t sparse_n_token_min = 0;
  std::uint32_t window = 0;
  std::uint32_t chunk = 512;
  std::uint32_t n_thread = 0;
  bool causal = false;
  bool check = false;
  bool json = false;
};

/// What is to be attended: arrays read, checked and in the order the cache wants them.
struct AttendJob {
  NamedArray keys;    ///< [n_kv_head, n_token, key_head_dim], f16 or f32
  NamedArray values;  ///< [n_kv_head, n_token, value_head_dim], same type
  kvault_row_type row_type = KVAULT_F16;
  kvault_layer layer{};
  std::uint64_t n_token = 0;  ///< rows in the files
  std::uint64_t n_valid = 0;  ///< rows that exist
  std::uint32_t n_q = 0;
  std::vector<float> q;            ///< [n_q, n_head, key_head_dim]
  std::vector<std::uint8_t> mask;  ///< [n_q, n_token], or empty
  std::vector<Half> equaliser;     ///< [n_kv_head, key_head_dim], or empty
  kvault_raw_pages raw_pages = KVAULT_RAW_SINK_AND_TAIL;
  float softmax_scale = 0;
  float logit_softcap = 0;
  float sparse_threshold = 0;
  std::uint32_t sparse_n_token_min = 0;
  std::uint32_t window = 0;
  bool causal = false;
  std::uint32_t chunk = 0;
  std::uint32_t n_thread = 0;

  /// Where query 0 stands: bottom-right; negative where there are more queries than tokens.
  std::int64_t first_q_position() const {
    return static_cast<std::int64_t>(n_valid) - static_cast<std::int64_t>(n_q);
  }
};

/// Reads and checks everything the flags name. Errors carry file and numbers.
Result<AttendJob> load_attend_job(const AttendFlags& flags);

/// An equaliser file, f2 or f4 of shape [n_kv_head, key_head_dim], rounded to f16.
struct EqualiserShape {
  std::uint32_t n_kv_head = 0;
  std::uint32_t key_head_dim = 0;
};
Result<std::vector<Half>> read_equaliser(const std::string& path, const EqualiserShape& shape);

/// The equaliser of `kvault attend --equalise learn`: from all queries, and the first 256 keys.
/// [n_kv_head, key_head_dim]
std::vector<Half> learn_job_equaliser(const AttendJob& job);

}  // namespace kvault::tools
