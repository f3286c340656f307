#include <algorithm>

#include "core/codec/equaliser.hpp"
#include "tools/cli/attend_job.hpp"

namespace kvault::tools {
namespace {

constexpr std::uint64_t kLearnKeys = 256;

/// [dim]: mean of q^2 over queries and the heads of one group.
std::vector<double> q_energy_of(const AttendJob& job, std::uint32_t kv_head) {
  const std::size_t dim = job.layer.key_head_dim;
  const std::uint32_t group = job.layer.n_head / job.layer.n_kv_head;
  std::vector<double> energy(dim);
  for (std::uint32_t query = 0; query < job.n_q; ++query) {
    for (std::uint32_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      const float* q = &job.q[(std::size_t{query} * job.layer.n_head + h) * dim];
      for (std::size_t i = 0; i < dim; ++i) energy[i] += double{q[i]} * double{q[i]};
    }
  }
  for (double& entry : energy) entry /= static_cast<double>(job.n_q) * group;
  return energy;
}

/// [dim]: variance of the first keys [n_row, dim].
std::vector<double> variance_of(std::span<const float> keys, std::size_t dim) {
  std::vector<double> variance(dim);
  const std::size_t n_row = keys.size() / dim;
  for (std::size_t i = 0; i < dim && n_row > 0; ++i) {
    double mean = 0;
    for (std::size_t row = 0; row < n_row; ++row) mean += double{keys[row * dim + i]};
    mean /= static_cast<double>(n_row);
    for (std::size_t row = 0; row < n_row; ++row) {
      const double centred = double{keys[row * dim + i]} - mean;
      variance[i] += centred * centred / static_cast<double>(n_row);
    }
  }
  return variance;
}

}  // namespace

Result<std::vector<Half>> read_equaliser(const std::string& path, const EqualiserShape& shape) {
  KVAULT_TRY(const NpyArray array, read_npy(path));
  if (array.shape != std::vector<std::uint64_t>{shape.n_kv_head, shape.key_head_dim}) {
    return fail(Errc::shape_mismatch, message(path, ": shape ", format_shape(array.shape),
                                              " is not [n_kv_head, head_dim] = [", shape.n_kv_head,
                                              ", ", shape.key_head_dim, "]"));
  }
  KVAULT_CHECK(row_type_of({path, {array.type, {}, {}}}));
  std::vector<Half> equaliser;
  for (const float entry : to_floats(array)) {
    equaliser.push_back(to_half(entry));
    if (is_valid_equaliser({&equaliser.back(), 1})) continue;
    return fail(Errc::invalid_argument, message(path, ": entry ", equaliser.size() - 1, ", ", entry,
                                                ", is not a positive normal f16"));
  }
  return equaliser;
}

std::vector<Half> learn_job_equaliser(const AttendJob& job) {
  const std::size_t dim = job.layer.key_head_dim;
  const std::uint64_t n_learn = std::min(job.n_valid, kLearnKeys);
  std::vector<Half> equaliser;
  for (std::uint32_t kv_head = 0; kv_head < job.layer.n_kv_head; ++kv_head) {
    const std::size_t row_bytes = dim * size_bytes_of(job.keys.array.type);
    const auto bytes = std::span(job.keys.array.bytes)
                           .subspan(kv_head * job.n_token * row_bytes, n_learn * row_bytes);
    const NpyArray first{job.keys.array.type, {n_learn, dim}, {bytes.begin(), bytes.end()}};
    const std::vector<double> variance = variance_of(to_floats(first), dim);
    const std::vector<Half> learned = learn_equaliser(q_energy_of(job, kv_head), variance);
    equaliser.insert(equaliser.end(), learned.begin(), learned.end());
  }
  return equaliser;
}

}  // namespace kvault::tools
