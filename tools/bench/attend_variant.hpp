#pragma once

#include <memory>
#include <vector>

#include "core/device/device.hpp"
#include "tools/bench/layer_set.hpp"
#include "tools/bench/variant.hpp"

namespace kvault::tools {

/// Attention of `n_q` queries at the end of the context over layer after layer of a set; causal
/// where there is more than one. Of several chats each has the next layer. The device and the set
/// must outlive it.
class AttendVariant final : public Variant {
 public:
  static Result<std::unique_ptr<AttendVariant>> create(Device& device, const LayerSet& set,
                                                       const BenchShape& shape, std::uint32_t n_q,
                                                       const SparseValues& sparse_values = {});
  Result<double> visit_us() override;

 private:
  AttendVariant(Device& device, const LayerSet& set, const BenchShape& shape, std::uint32_t n_q,
                const SparseValues& sparse_values, std::vector<std::unique_ptr<Buffer>> layers);
  Result<> attend_next();

  Device& device_;
  BenchShape shape_;
  SparseValues sparse_values_;
  std::vector<std::unique_ptr<Buffer>> layers_;
  std::vector<float> q_;
  std::vector<float> out_;
  std::vector<std::vector<PageRef>> pages_;  ///< [n_sequence], each in a buffer of its own
  std::vector<AttendSequence> sequences_;
  std::size_t next_layer_ = 0;
  CallTimer timer_;
};

}  // namespace kvault::tools
