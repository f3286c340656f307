#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "tools/cli/array_input.hpp"

namespace kvault::tools {

/// `kvault roundtrip` as typed.
struct RoundtripFlags {
  std::string input_path;
  std::string out_path;
  std::string side = "key";
  std::string scheme = "tq4";
  std::string rule = "unbiased";
  std::string equalise = "none";  ///< none, learn or a file
  std::string device = "cpu";
  std::uint32_t n_thread = 0;
  bool centre = false;
  bool no_centre = false;
  bool json = false;
};

/// Rows through the codec and back.
struct RoundtripAnswer {
  NamedArray input;         ///< [n_kv_head, n_token, head_dim]
  std::vector<float> rows;  ///< same shape; those of an incomplete page as they came
  std::uint64_t n_sealed_token = 0;
  std::uint64_t n_block = 0;
  std::uint64_t n_raw_block = 0;  ///< whose scale or mean does not fit f16
  double bits_per_element = 0;    ///< of all sealed blocks, padding included
  bool is_centred = false;
};

/// Seals every full page of the input in a cache and reads all rows back.
Result<RoundtripAnswer> run_roundtrip(const RoundtripFlags& flags);

/// What the codec cost, over the sealed rows.
struct RoundtripError {
  double relative_mse = 0;  ///< sum |x - x'|^2 / sum |x|^2
  double max_error = 0;     ///< largest |x - x'| of an element
  double mean_cosine = 1;   ///< of rows; a zero row that stays zero counts 1
  double min_cosine = 1;
};
RoundtripError measure(const RoundtripAnswer& answer);

}  // namespace kvault::tools
