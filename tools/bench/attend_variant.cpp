#include "tools/bench/attend_variant.hpp"

#include <cmath>

#include "tools/bench/random_block.hpp"

namespace kvault::tools {

Result<std::unique_ptr<AttendVariant>> AttendVariant::create(Device& device, const LayerSet& set,
                                                             const BenchShape& shape,
                                                             std::uint32_t n_q,
                                                             const SparseValues& sparse_values) {
  KVAULT_TRY(std::vector<std::unique_ptr<Buffer>> layers, hand_over(set, device));
  return std::unique_ptr<AttendVariant>(
      new AttendVariant(device, set, shape, n_q, sparse_values, std::move(layers)));
}

AttendVariant::AttendVariant(Device& device, const LayerSet& set, const BenchShape& shape,
                             std::uint32_t n_q, const SparseValues& sparse_values,
                             std::vector<std::unique_ptr<Buffer>> layers)
    : device_(device),
      shape_(shape),
      sparse_values_(sparse_values),
      layers_(std::move(layers)),
      q_(std::size_t{n_q} * shape.n_head * shape.head_dim),
      out_(q_.size() * shape.n_sequence) {
  RandomBlocks random(shape.head_dim);
  for (float& entry : q_) entry = to_float(random.normal());
  for (std::uint32_t i = 0; i < shape.n_sequence; ++i) {
    std::vector<PageRef>& pages = pages_.emplace_back(set.pages().begin(), set.pages().end());
    for (PageRef& page : pages) page.key.buffer = page.value.buffer = i;
    AttendSequence sequence;
    sequence.n_q = n_q;
    sequence.q = q_;
    sequence.pages = pages;
    sequence.n_token = shape.n_token;
    sequence.first_q_position = static_cast<std::int64_t>(shape.n_token - n_q);
    sequence.mask.causal = n_q > 1;
    sequence.out = std::span(out_).subspan(i * q_.size(), q_.size());
    sequences_.push_back(sequence);
  }
}

Result<double> AttendVariant::visit_us() {
  return timer_.time_us([this] { return attend_next(); });
}

Result<> AttendVariant::attend_next() {
  std::vector<const Buffer*> layers;
  for (std::uint32_t i = 0; i < shape_.n_sequence; ++i) {
    layers.push_back(layers_[next_layer_].get());
    next_layer_ = (next_layer_ + 1) % layers_.size();
  }
  AttendArgs args;
  args.n_head = shape_.n_head;
  args.n_kv_head = shape_.n_kv_head;
  args.key_head_dim = shape_.head_dim;
  args.value_head_dim = shape_.head_dim;
  args.softmax_scale = 1 / std::sqrt(static_cast<float>(shape_.head_dim));
  args.sparse_values = sparse_values_;
  args.buffers = layers;
  args.sequences = sequences_;
  KVAULT_TRY(const Ticket ticket, device_.attend(args));
  return device_.wait(ticket);
}

}  // namespace kvault::tools
