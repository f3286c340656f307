#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvault/kvault.h"

namespace kvault::tools {

/// One number of kvaultd. `total`: it only grows while the daemon runs.
struct Metric {
  enum class Kind : std::uint8_t { gauge, total };
  std::string_view name;  ///< as in JSON
  std::string_view prometheus_name;
  std::string_view help;
  Kind kind = Kind::gauge;
  bool is_size = false;  ///< in bytes
  std::uint64_t value = 0;
};

std::vector<Metric> metrics_of(const kvault_daemon_stats& stats);

/// The text exposition format of Prometheus, version 0.0.4.
std::string prometheus_text(const std::vector<Metric>& metrics);

}  // namespace kvault::tools
