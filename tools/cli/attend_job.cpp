#include "tools/cli/attend_job.hpp"

#include <cmath>

#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

std::string describe(const NamedArray& rows) {
  return message(rows.name, " ", format_shape(rows.array.shape));
}

/// K, V and Q fit together.
Result<> check_shapes(const NamedArray& keys, const NamedArray& values, const NamedArray& q) {
  const std::vector<std::uint64_t>& k = keys.array.shape;
  const std::vector<std::uint64_t>& v = values.array.shape;
  if (k[0] != v[0] || k[1] != v[1]) {
    return fail(Errc::shape_mismatch, message(describe(keys), " and ", describe(values),
                                              " differ in n_kv_head or n_token"));
  }
  if (keys.array.type != values.array.type) {
    return fail(Errc::type_mismatch,
                message(keys.name, " holds ", name_of(keys.array.type), " but ", values.name, " ",
                        name_of(values.array.type), "; both must be the same"));
  }
  if (q.array.shape[2] != k[2]) {
    return fail(Errc::shape_mismatch,
                message(describe(q), " and ", describe(keys), " differ in head_dim"));
  }
  if (k[0] == 0 || q.array.shape[0] == 0 || q.array.shape[0] % k[0] != 0) {
    return fail(Errc::shape_mismatch,
                message("n_head ", q.array.shape[0], " of ", q.name,
                        " is not a positive multiple of n_kv_head ", k[0], " of ", keys.name));
  }
  if (q.array.shape[1] == 0) {
    return fail(Errc::shape_mismatch, message(describe(q), " has 0 queries"));
  }
  return {};
}

Result<> check_numbers(const AttendFlags& flags) {
  const float scale = flags.softmax_scale.value_or(1);
  if (!std::isfinite(scale) || scale <= 0) {
    return fail(Errc::invalid_argument, message("--scale ", scale, " is not a positive number"));
  }
  if (!std::isfinite(flags.logit_softcap) || flags.logit_softcap < 0) {
    return fail(Errc::invalid_argument,
                message("--softcap ", flags.logit_softcap, " is not 0 or a positive number"));
  }
  if (!(flags.sparse_threshold >= 0 && flags.sparse_threshold < 1)) {
    return fail(Errc::invalid_argument,
                message("--sparse-values ", flags.sparse_threshold, " is not in [0, 1)"));
  }
  if (flags.raw_pages != "sink,tail" && flags.raw_pages != "none") {
    return fail(Errc::invalid_argument,
                message("--raw-pages '", flags.raw_pages, "' is not 'sink,tail' or 'none'"));
  }
  return {};
}

Result<std::vector<std::uint8_t>> read_mask(const std::string& path, std::uint64_t n_q,
                                            std::uint64_t n_token) {
  if (path.empty()) return std::vector<std::uint8_t>();
  KVAULT_TRY(const NpyArray mask, read_npy(path));
  if (mask.type != NpyType::b1 && mask.type != NpyType::u1) {
    return fail(Errc::type_mismatch,
                message(path, ": elements are ", name_of(mask.type), ", not b1 (bool)"));
  }
  if (mask.shape != std::vector<std::uint64_t>{n_q, n_token}) {
    return fail(Errc::shape_mismatch,
                message(path, ": shape ", format_shape(mask.shape), " is not [n_q, n_token] = [",
                        n_q, ", ", n_token, "]"));
  }
  std::vector<std::uint8_t> bits(mask.bytes.size());
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = mask.bytes[i] != std::byte{0} ? 1 : 0;
  return bits;
}

Result<> read_arrays(const AttendFlags& flags, AttendJob& job) {
  KVAULT_TRY(job.keys, read_rows_array(flags.key_path, "[n_kv_head, n_token, head_dim]"));
  KVAULT_TRY(job.values, read_rows_array(flags.value_path, "[n_kv_head, n_token, head_dim]"));
  KVAULT_TRY(const NamedArray q, read_rows_array(flags.q_path, "[n_head, n_q, head_dim]"));
  KVAULT_CHECK(check_shapes(job.keys, job.values, q));
  job.n_token = job.keys.array.shape[1];
  job.n_valid = flags.valid_length.value_or(job.n_token);
  if (job.n_valid > job.n_token) {
    return fail(Errc::out_of_range, message("--valid-length ", job.n_valid, " exceeds the ",
                                            job.n_token, " tokens of ", job.keys.name));
  }
  KVAULT_CHECK(check_finite(job.keys, job.n_valid));
  KVAULT_CHECK(check_finite(job.values, job.n_valid));
  KVAULT_CHECK(check_finite(q, q.array.shape[1]));
  KVAULT_TRY(job.row_type, row_type_of(job.keys));
  job.n_q = static_cast<std::uint32_t>(q.array.shape[1]);
  job.q = swap_outer(to_floats(q.array), q.array.shape);
  job.layer.kind = KVAULT_FULL_ATTENTION;
  job.layer.n_head = static_cast<std::uint32_t>(q.array.shape[0]);
  job.layer.n_kv_head = static_cast<std::uint32_t>(job.keys.array.shape[0]);
  job.layer.key_head_dim = static_cast<std::uint32_t>(job.keys.array.shape[2]);
  job.layer.value_head_dim = static_cast<std::uint32_t>(job.values.array.shape[2]);
  return {};
}

}  // namespace

Result<AttendJob> load_attend_job(const AttendFlags& flags) {
  AttendJob job;
  KVAULT_CHECK(check_numbers(flags));
  KVAULT_TRY(const sdk::Preset preset,
             from_sdk(sdk::find_preset(flags.preset.c_str()), "--preset"));
  KVAULT_CHECK(read_arrays(flags, job));
  job.layer.key_scheme = preset.key;
  job.layer.value_scheme = preset.value;
  KVAULT_TRY(job.mask, read_mask(flags.mask_path, job.n_q, job.n_token));
  job.raw_pages = flags.raw_pages == "none" ? KVAULT_RAW_NONE : KVAULT_RAW_SINK_AND_TAIL;
  // One float for the device and the oracle: large logits would show the difference.
  job.softmax_scale =
      flags.softmax_scale.value_or(1.0F / std::sqrt(static_cast<float>(job.layer.key_head_dim)));
  job.logit_softcap = flags.logit_softcap;
  job.sparse_threshold = flags.sparse_threshold;
  job.sparse_n_token_min = flags.sparse_n_token_min;
  job.window = flags.window;
  job.causal = flags.causal;
  job.chunk = flags.chunk;
  job.n_thread = flags.n_thread;
  if (flags.equalise == "learn") {
    job.equaliser = learn_job_equaliser(job);
  } else if (flags.equalise != "none") {
    KVAULT_TRY(job.equaliser,
               read_equaliser(flags.equalise, {job.layer.n_kv_head, job.layer.key_head_dim}));
  }
  return job;
}

}  // namespace kvault::tools
