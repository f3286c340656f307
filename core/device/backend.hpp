#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "core/device/device.hpp"

namespace kvault {

enum class AdapterKind : std::uint8_t { discrete, integrated, virtual_gpu, cpu, other };

/// "discrete", "integrated", "virtual", "cpu" or "other".
std::string_view name_of(AdapterKind kind) noexcept;

/// One of a backend's devices on this machine; its index is its place in the backend's list.
struct DeviceAdapter {
  std::string name;
  std::string uuid;  ///< 32 hexadecimal digits; empty: it has none
  AdapterKind kind = AdapterKind::other;
  std::string driver;  ///< name and version; of the cpu device: its instruction set
  std::uint64_t memory_budget_bytes = 0;  ///< that this process may still take; 0: unknown
  std::string why_not;                    ///< empty: usable
};

/// One way to open a device.
struct BackendEntry {
  std::string_view name;
  /// Errc::device_absent where the machine has none, or not the one that was asked for.
  Result<std::unique_ptr<Device>> (*open)(const DeviceOptions& options) = nullptr;
  /// At least one, unusable ones too; Errc::device_absent says why there is none.
  Result<std::vector<DeviceAdapter>> (*list)() = nullptr;
};

/// The device that `text` names: a backend ("vulkan"), or a backend and which of its devices
/// ("vulkan:0"; see DeviceOptions::adapter). An error says what there is instead; no other device
/// ever takes its place.
Result<std::unique_ptr<Device>> open_device(std::span<const BackendEntry> backends,
                                            std::string_view text, DeviceOptions options = {});

}  // namespace kvault
