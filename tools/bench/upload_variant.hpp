#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/device/device.hpp"
#include "tools/bench/layer_set.hpp"
#include "tools/bench/variant.hpp"

namespace kvault::tools {

/// Bytes of layer after layer to memory of the device, as when a session is resumed; a visit's time
/// is that of a layer. The device and the set must outlive it.
class UploadVariant final : public Variant {
 public:
  static Result<std::unique_ptr<UploadVariant>> create(Device& device, const LayerSet& set);
  ~UploadVariant() override;
  Result<double> visit_us() override;

 private:
  UploadVariant(Device& device, const LayerSet& set) : device_(device), set_(set) {}
  Result<> upload_next();

  /// Two that take turns: a copy begins before the one before it has ended.
  static constexpr std::size_t kTargets = 2;

  Device& device_;
  const LayerSet& set_;
  std::vector<std::unique_ptr<Buffer>> targets_;
  std::optional<Ticket> before_;
  std::uint32_t next_layer_ = 0;
  CallTimer timer_;
};

}  // namespace kvault::tools
