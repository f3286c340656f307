#include <memory>

#include "kvault_backends.hpp"
#include "tools/cli/commands.hpp"
#include "tools/cli/report.hpp"

namespace kvault::tools {
namespace {

constexpr const char* kExamples =
    R"(What --device takes: a name of the first column, or of a GPU also its UUID or part of its
name behind the colon. A backend's name alone: its first usable device.

Examples:
  kvault devices
  kvault devices --json
  kvault demo --device vulkan:0)";

/// Devices as a table and as JSON.
struct DeviceTable {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows = {
      {"device", "name", "kind", "memory", "driver", "uuid", "state"}};

  void add(const BackendEntry& backend, std::size_t index, const DeviceAdapter& adapter);
  void add_none(const BackendEntry& backend, const std::string& why);
};

void DeviceTable::add(const BackendEntry& backend, std::size_t index,
                      const DeviceAdapter& adapter) {
  const std::string device =
      backend.name == "cpu" ? "cpu" : message(backend.name, ":", index);  // of which there is one
  const bool is_present = adapter.why_not.empty();
  const std::uint64_t memory = adapter.memory_budget_bytes;
  list.push_back({{"device", device},
                  {"backend", backend.name},
                  {"index", index},
                  {"is_present", is_present},
                  {"why", adapter.why_not},
                  {"name", adapter.name},
                  {"kind", name_of(adapter.kind)},
                  {"driver", adapter.driver},
                  {"uuid", adapter.uuid},
                  {"memory_budget_bytes", memory}});
  rows.push_back({device, adapter.name, std::string(name_of(adapter.kind)),
                  memory == 0 ? "-" : format_size(memory), adapter.driver,
                  adapter.uuid.empty() ? "-" : adapter.uuid,
                  is_present ? "usable" : "not usable: " + adapter.why_not});
}

void DeviceTable::add_none(const BackendEntry& backend, const std::string& why) {
  list.push_back(
      {{"device", backend.name}, {"backend", backend.name}, {"is_present", false}, {"why", why}});
  rows.push_back({std::string(backend.name), "-", "-", "-", "-", "-", "absent: " + why});
}

int list_devices(bool as_json) {
  DeviceTable table;
  for (const BackendEntry& backend : backends()) {
    const Result<std::vector<DeviceAdapter>> adapters = backend.list();
    if (!adapters) {
      table.add_none(backend, adapters.error().message);
      continue;
    }
    for (std::size_t i = 0; i < adapters->size(); ++i) table.add(backend, i, (*adapters)[i]);
  }
  if (as_json) {
    std::printf("%s\n",
                table.list.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else {
    print_columns(table.rows);
  }
  return kExitDone;
}

}  // namespace

void add_devices_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("devices", "List the devices of this build and machine");
  auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "Print JSON");
  command->footer(kExamples);
  command->callback([as_json, &exit_code] { exit_code = list_devices(*as_json); });
}

}  // namespace kvault::tools
