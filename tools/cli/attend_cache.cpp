#include "tools/cli/attend_cache.hpp"

#include <algorithm>
#include <limits>

#include "tools/cli/progress_bar.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

/// Rows [first, first + count) of a file, where they lie.
sdk::Rows rows_of(const AttendJob& job, const NpyArray& array, std::uint64_t first,
                  std::uint32_t count) {
  const auto row_bytes = static_cast<std::int64_t>(array.shape[2] * size_bytes_of(array.type));
  return {.data = std::span(array.bytes).subspan(first * static_cast<std::uint64_t>(row_bytes)),
          .n_token = count,
          .token_stride_bytes = row_bytes,
          .head_stride_bytes = row_bytes * static_cast<std::int64_t>(job.n_token)};
}

Result<> append_range(const AttendJob& job, sdk::CacheView& cache, std::uint64_t n_token,
                      ProgressBar& bar) {
  for (std::uint64_t first = 0; first < n_token; first += job.chunk) {
    const auto count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(job.chunk, n_token - first));
    KVAULT_CHECK(from_sdk(cache.append(0, rows_of(job, job.keys.array, first, count),
                                       rows_of(job, job.values.array, first, count)),
                          message("append of token ", first)));
    bar.show(first + count);
  }
  return {};
}

/// The options for queries [first, first + count).
sdk::AttendOptions options_for(const AttendJob& job, std::uint32_t first, std::uint32_t count,
                               AttendAnswer& answer) {
  const std::size_t row = std::size_t{first} * job.layer.n_head;
  const std::size_t n_row = std::size_t{count} * job.layer.n_head;
  const std::size_t key_dim = job.layer.key_head_dim;
  const std::size_t value_dim = job.layer.value_head_dim;
  sdk::AttendOptions options;
  options.n_q = count;
  options.q = std::span(job.q).subspan(row * key_dim, n_row * key_dim);
  options.out = std::span(answer.out).subspan(row * value_dim, n_row * value_dim);
  options.lse = std::span(answer.lse).subspan(row, n_row);
  options.softmax_scale = job.softmax_scale;
  options.logit_softcap = job.logit_softcap;
  options.sparse_threshold = job.sparse_threshold;
  options.sparse_n_token_min = job.sparse_n_token_min;
  options.window = job.window;
  options.causal = job.causal;
  if (!job.mask.empty()) {
    options.mask = std::span(job.mask).subspan(first * job.n_token, count * job.n_token);
    options.mask_stride = job.n_token;
  }
  return options;
}

}  // namespace

Result<sdk::Cache> create_cache(const AttendJob& job, const std::string& device) {
  std::vector<std::uint16_t> equaliser;
  for (const Half entry : job.equaliser) equaliser.push_back(entry.bits);
  return from_sdk(sdk::Cache::create(
                      {.layers = {&job.layer, 1},
                       .row_type = job.row_type,
                       .equalise = equaliser.empty() ? KVAULT_EQUALISE_NONE : KVAULT_EQUALISE_GIVEN,
                       .raw_pages = job.raw_pages,
                       .equaliser = equaliser,
                       .device = device,
                       .n_thread = job.n_thread}),
                  device);
}

Result<> append_all(const AttendJob& job, sdk::CacheView& cache, bool show_progress) {
  ProgressBar bar("append", job.n_valid, show_progress);
  return append_range(job, cache, job.n_valid, bar);
}

Result<AttendAnswer> attend_with_cache(const AttendJob& job, sdk::CacheView& cache,
                                       bool show_progress) {
  const std::size_t n_row = std::size_t{job.n_q} * job.layer.n_head;
  AttendAnswer answer{std::vector<float>(n_row * job.layer.value_head_dim),
                      std::vector<float>(n_row, -std::numeric_limits<float>::infinity())};
  // Causal queries before the first token see nothing; so do all where there is no token.
  const std::int64_t position = job.first_q_position();
  const auto n_before =
      job.causal && position < 0 ? static_cast<std::uint32_t>(-position) : std::uint32_t{0};
  ProgressBar bar("attend", job.n_valid, show_progress);
  if (!job.causal || job.raw_pages == KVAULT_RAW_NONE) {
    KVAULT_CHECK(append_range(job, cache, job.n_valid, bar));
    if (job.n_valid == 0) return answer;
    KVAULT_CHECK(from_sdk(cache.attend(0, options_for(job, n_before, job.n_q - n_before, answer)),
                          "attend"));
    return answer;
  }
  KVAULT_CHECK(append_range(job, cache, static_cast<std::uint64_t>(position + n_before), bar));
  for (std::uint32_t query = n_before; query < job.n_q;) {
    const std::uint32_t count = std::min(job.chunk, job.n_q - query);
    const auto first = static_cast<std::uint64_t>(position + query);
    KVAULT_CHECK(from_sdk(cache.append_attend(0, rows_of(job, job.keys.array, first, count),
                                              rows_of(job, job.values.array, first, count),
                                              options_for(job, query, count, answer)),
                          message("attend of token ", first)));
    query += count;
    bar.show(first + count);
  }
  return answer;
}

}  // namespace kvault::tools
