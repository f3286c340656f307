#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "tools/bench/daemon/bench_daemon.hpp"
#include "tools/bench/daemon/figure.hpp"

namespace kvault::tools {

/// Small requests, to a daemon that has nothing else to do.
struct RequestBench {
  const BenchDaemon& daemon;
  std::string session;             ///< to inspect
  std::uint32_t n_request = 2000;  ///< one behind the other, of each kind
  double load_s = 10;              ///< of 16 clients, of each kind
};

/// Round trips of one client: Ping, which the loop answers, InspectSession and Stats, which the
/// storage thread answers. Then 1,000 requests per second over 16 connections.
Result<std::vector<Figure>> measure_requests(const RequestBench& bench);

}  // namespace kvault::tools
