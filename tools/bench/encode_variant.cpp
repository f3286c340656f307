#include "tools/bench/encode_variant.hpp"

#include <algorithm>

#include "core/layout/block_layout.hpp"
#include "tools/bench/limits.hpp"

namespace kvault::tools {
namespace {

/// A GPU is filled by more.
constexpr std::uint64_t kCallPagesMax = 16;
constexpr std::uint64_t kGpuCallPagesMax = 256;

}  // namespace

Result<std::unique_ptr<EncodeVariant>> EncodeVariant::create(Device& device, const LayerSet& source,
                                                             const Preset& target,
                                                             const BenchShape& shape) {
  std::unique_ptr<EncodeVariant> variant(new EncodeVariant(device, shape));
  variant->plan_blocks(source, target);
  KVAULT_TRY(variant->layers_, hand_over(source, device));
  KVAULT_TRY(variant->target_, device.allocate({.size_bytes = variant->target_size_bytes_}));
  return variant;
}

void EncodeVariant::plan_blocks(const LayerSet& source, const Preset& target) {
  const std::uint64_t n_page = source.pages().size() / shape_.n_kv_head;
  n_call_page_ = static_cast<std::uint32_t>(
      std::min(n_page, device_.name() == "cpu" ? kCallPagesMax : kGpuCallPagesMax));
  const std::size_t n_call_block = std::size_t{n_call_page_} * shape_.n_kv_head;
  const BlockFormat key_format = format_of(target, Side::key);
  const BlockFormat value_format = format_of(target, Side::value);
  const std::uint64_t key_bytes = BlockLayout::of(key_format, shape_.head_dim).size_bytes;
  const std::uint64_t pair_bytes = pair_size_bytes(target, shape_.head_dim);
  target_size_bytes_ = n_call_block * pair_bytes;
  // The targets of one call, over and over: a cache writes each page once, then leaves it.
  for (std::size_t i = 0; i < source.pages().size(); ++i) {
    const std::uint64_t offset = i % n_call_block * pair_bytes;
    key_blocks_.push_back({source.pages()[i].key, {offset, 1, key_format}});
    value_blocks_.push_back({source.pages()[i].value, {offset + key_bytes, 1, value_format}});
  }
  outcomes_.resize(n_call_block);
}

Result<double> EncodeVariant::visit_us() {
  KVAULT_TRY(const double call_us, timer_.time_us([this] { return encode_next(); }));
  return call_us / n_call_page_;
}

Result<> EncodeVariant::encode_next() {
  const std::size_t n_block = outcomes_.size();
  KVAULT_CHECK(encode_side(Side::key, std::span(key_blocks_).subspan(next_block_, n_block)));
  KVAULT_CHECK(encode_side(Side::value, std::span(value_blocks_).subspan(next_block_, n_block)));
  next_block_ += n_block;
  if (next_block_ + n_block <= key_blocks_.size()) return {};
  next_block_ = 0;
  next_layer_ = (next_layer_ + 1) % layers_.size();
  return {};
}

Result<> EncodeVariant::encode_side(Side side, std::span<const EncodeBlock> blocks) {
  Buffer* const buffers[] = {layers_[next_layer_].get(), target_.get()};
  EncodeArgs args;
  args.side = side;
  args.head_dim = shape_.head_dim;
  args.buffers = buffers;
  args.blocks = blocks;
  args.outcomes = outcomes_;
  KVAULT_TRY(const Ticket ticket, device_.encode(args));
  KVAULT_CHECK(device_.wait(ticket));
  for (const EncodeOutcome outcome : outcomes_) {
    if (outcome != EncodeOutcome::coded) return fail(Errc::internal, "a block was not coded");
  }
  return {};
}

}  // namespace kvault::tools
