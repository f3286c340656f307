#include <memory>

#include "kvault_backends.hpp"
#include "tools/cli/commands.hpp"
#include "tools/cli/report.hpp"

namespace kvault::tools {
namespace {

int list_devices(bool as_json) {
  auto list = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows = {{"device", "state"}};
  for (const BackendEntry& backend : backends()) {
    const auto device = backend.open(DeviceOptions{});
    const std::string why = device ? "" : device.error().message;
    list.push_back({{"name", backend.name}, {"is_present", device.has_value()}, {"why", why}});
    rows.push_back({std::string(backend.name), device ? "present" : "absent: " + why});
  }
  if (as_json) {
    std::printf("%s\n", list.dump(2).c_str());
  } else {
    print_columns(rows);
  }
  return kExitDone;
}

}  // namespace

void add_devices_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("devices", "List the devices of this build and machine");
  auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "Print JSON");
  command->footer("Example:\n  kvault devices");
  command->callback([as_json, &exit_code] { exit_code = list_devices(*as_json); });
}

}  // namespace kvault::tools
