#include "tools/bench/upload_variant.hpp"

#include <utility>

namespace kvault::tools {

Result<std::unique_ptr<UploadVariant>> UploadVariant::create(Device& device, const LayerSet& set) {
  std::unique_ptr<UploadVariant> variant(new UploadVariant(device, set));
  for (std::size_t i = 0; i < kTargets; ++i) {
    KVAULT_TRY(std::unique_ptr<Buffer> target,
               device.allocate({.size_bytes = set.layer(0).size(), .is_zeroed = false}));
    variant->targets_.push_back(std::move(target));
  }
  return variant;
}

UploadVariant::~UploadVariant() {
  if (before_) (void)device_.wait(*before_);
}

Result<double> UploadVariant::visit_us() {
  return timer_.time_us([this] { return upload_next(); });
}

Result<> UploadVariant::upload_next() {
  Buffer& target = *targets_[next_layer_ % kTargets];
  KVAULT_TRY(const Ticket ticket, device_.upload(target, 0, set_.layer(next_layer_)));
  next_layer_ = (next_layer_ + 1) % set_.n_layer();
  const std::optional<Ticket> before = std::exchange(before_, ticket);
  return before ? device_.wait(*before) : Result<>();
}

}  // namespace kvault::tools
