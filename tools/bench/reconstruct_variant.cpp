#include "tools/bench/reconstruct_variant.hpp"

#include <algorithm>

namespace kvault::tools {
namespace {

constexpr std::uint64_t kCallPagesMax = 16;

}  // namespace

Result<std::unique_ptr<ReconstructVariant>> ReconstructVariant::create(Device& device,
                                                                       const LayerSet& set,
                                                                       const BenchShape& shape) {
  std::unique_ptr<ReconstructVariant> variant(new ReconstructVariant(device, set, shape));
  KVAULT_TRY(variant->layers_, hand_over(set, device));
  return variant;
}

ReconstructVariant::ReconstructVariant(Device& device, const LayerSet& set, const BenchShape& shape)
    : device_(device),
      shape_(shape),
      n_call_page_(static_cast<std::uint32_t>(
          std::min<std::uint64_t>(set.pages().size() / shape.n_kv_head, kCallPagesMax))),
      rows_(std::size_t{n_call_page_} * shape.n_kv_head * kPageTokens * shape.head_dim) {
  for (const PageRef& page : set.pages()) {
    keys_.push_back(page.key);
    values_.push_back(page.value);
  }
}

Result<double> ReconstructVariant::visit_us() {
  KVAULT_TRY(const double call_us, timer_.time_us([this] { return reconstruct_next(); }));
  return call_us / n_call_page_;
}

Result<> ReconstructVariant::reconstruct_next() {
  const std::size_t n_block = std::size_t{n_call_page_} * shape_.n_kv_head;
  KVAULT_CHECK(reconstruct_side(Side::key, std::span(keys_).subspan(next_block_, n_block)));
  KVAULT_CHECK(reconstruct_side(Side::value, std::span(values_).subspan(next_block_, n_block)));
  next_block_ += n_block;
  if (next_block_ + n_block <= keys_.size()) return {};
  next_block_ = 0;
  next_layer_ = (next_layer_ + 1) % layers_.size();
  return {};
}

Result<> ReconstructVariant::reconstruct_side(Side side, std::span<const BlockRef> blocks) {
  const Buffer* const layer = layers_[next_layer_].get();
  ReconstructArgs args;
  args.side = side;
  args.head_dim = shape_.head_dim;
  args.buffers = {&layer, 1};
  args.blocks = blocks;
  args.row_type = RowType::f16;
  args.rows = std::as_writable_bytes(std::span(rows_));
  KVAULT_TRY(const Ticket ticket, device_.reconstruct(args));
  return device_.wait(ticket);
}

}  // namespace kvault::tools
