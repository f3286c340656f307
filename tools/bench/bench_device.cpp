#include "tools/bench/bench_device.hpp"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>

#include "kvault_backends.hpp"

namespace kvault::tools {
namespace {

std::string lower(std::string_view text) {
  std::string small(text);
  for (char& c : small) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return small;
}

bool is_number(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// The place of the adapter that DeviceOptions::adapter would name; empty: it names none, or the
/// backend has to say.
std::optional<std::size_t> find_adapter(const std::vector<DeviceAdapter>& adapters,
                                        std::string_view wanted) {
  std::string uuid = lower(wanted);
  std::erase(uuid, '-');
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    if (wanted == std::to_string(i)) return i;
  }
  if (!wanted.empty() && is_number(wanted)) return std::nullopt;
  const auto fits = [&](const DeviceAdapter& adapter) {
    return adapter.why_not.empty() &&
           (uuid == adapter.uuid || lower(adapter.name).find(lower(wanted)) != std::string::npos);
  };
  const auto found = std::find_if(adapters.begin(), adapters.end(), fits);
  if (found == adapters.end()) return std::nullopt;
  return static_cast<std::size_t>(found - adapters.begin());
}

std::vector<DeviceAdapter> list_adapters_of(std::string_view backend) {
  const auto entries = backends();
  const auto entry = std::ranges::find(entries, backend, &BackendEntry::name);
  if (entry == entries.end()) return {};
  Result<std::vector<DeviceAdapter>> adapters = entry->list();
  return adapters ? std::move(*adapters) : std::vector<DeviceAdapter>();
}

}  // namespace

Result<BenchDevice> open_bench_device(const std::string& text, const DeviceOptions& options) {
  const std::size_t colon = text.find(':');
  const std::string backend = text.substr(0, colon);
  const std::string wanted = colon == std::string::npos ? "" : text.substr(colon + 1);
  const std::vector<DeviceAdapter> adapters = list_adapters_of(backend);
  BenchDevice opened;
  opened.adapter.name = text;
  std::string exact = text;
  if (const std::optional<std::size_t> index = find_adapter(adapters, wanted)) {
    opened.adapter = adapters[*index];
    // Opened by its place, so that the device that is named is the one that is measured.
    if (adapters.size() > 1) exact = message(backend, ":", *index);
  }
  KVAULT_TRY(opened.device, open_device(exact, options));
  return opened;
}

Result<std::vector<BenchDevice>> open_bench_devices(const BenchOptions& options) {
  if (options.device != "cpu" && !options.instruction_sets.empty()) {
    return fail(Errc::invalid_argument, "--instruction-set belongs to --device cpu");
  }
  std::vector<std::string> sets = options.instruction_sets;
  if (sets.empty()) sets.emplace_back();
  std::vector<BenchDevice> devices;
  for (const std::string& set : sets) {
    for (const std::uint32_t n_thread : options.n_threads) {
      KVAULT_TRY(BenchDevice device,
                 open_bench_device(options.device, {.n_thread = n_thread, .instruction_set = set}));
      devices.push_back(std::move(device));
      // It has no threads to vary.
      if (devices.back().device->caps().n_thread == 0) return devices;
    }
  }
  return devices;
}

bool is_software_gpu(const BenchDevice& device) {
  return device.adapter.kind == AdapterKind::cpu && device.device->name() != "cpu";
}

}  // namespace kvault::tools
