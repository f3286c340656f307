#pragma once

#include <string>

#include "tools/bench/device_report.hpp"

namespace kvault::tools {

/// The report as Markdown; `folder` is where it finds the figures and the drawing.
std::string page_of(const DeviceReport& report, const std::string& folder);

}  // namespace kvault::tools
