#include "tools/bench/daemon/request_bench.hpp"

#include <chrono>
#include <functional>
#include <random>
#include <thread>
#include <utility>

#include "sdk/src/client.hpp"
#include "tools/bench/daemon/stopwatch.hpp"

namespace kvault::tools {
namespace {

using Clock = std::chrono::steady_clock;
using Request = std::function<Result<>(Client&)>;

constexpr std::uint32_t kWarmUps = 100;
constexpr std::size_t kClients = 16;
constexpr double kRequestsPerS = 1000;
/// A sleeping thread wakes up this much too late, seldom more.
constexpr std::chrono::microseconds kWatchful(150);

Result<> ping(Client& client) {
  KVAULT_CHECK(client.ping());
  return {};
}

Result<> stats(Client& client) {
  KVAULT_CHECK(client.stats());
  return {};
}

Result<std::vector<double>> measure_round_trips(Client& client, const Request& request,
                                                std::uint32_t n_request) {
  for (std::uint32_t i = 0; i < kWarmUps; ++i) KVAULT_CHECK(request(client));
  std::vector<double> samples;
  for (std::uint32_t i = 0; i < n_request; ++i) {
    const Stopwatch watch;
    KVAULT_CHECK(request(client));
    samples.push_back(watch.us());
  }
  return samples;
}

/// Requests fall due at random moments (exponential gaps), whatever became of those before. One
/// thread sends them when they are due, over the connections in turn, and looks at the clock
/// without rest just before; a request that is sent late, because the one before it was answered
/// late, counts from when it was due.
Result<std::vector<double>> measure_load(std::vector<Client>& clients, const Request& request,
                                         double load_s) {
  std::mt19937 random(1);
  std::exponential_distribution<double> gap_s(kRequestsPerS);
  std::vector<double> samples;
  const Clock::time_point begin = Clock::now();
  for (double due_s = gap_s(random); due_s < load_s; due_s += gap_s(random)) {
    const Clock::time_point due =
        begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(due_s));
    std::this_thread::sleep_until(due - kWatchful);
    while (Clock::now() < due) {
    }
    KVAULT_CHECK(request(clients[samples.size() % clients.size()]));
    samples.push_back(std::chrono::duration<double, std::micro>(Clock::now() - due).count());
  }
  return samples;
}

}  // namespace

Result<std::vector<Figure>> measure_requests(const RequestBench& bench) {
  const Request inspect = [&](Client& client) -> Result<> {
    KVAULT_CHECK(client.inspect(bench.session));
    return {};
  };
  std::vector<Figure> figures;
  KVAULT_TRY(Client client, bench.daemon.connect());
  const auto add = [&](const char* key, const char* what, const Request& request,
                       std::optional<Target> target) -> Result<> {
    KVAULT_TRY(std::vector<double> samples, measure_round_trips(client, request, bench.n_request));
    figures.push_back({key, what, std::move(samples), 0.5, target});
    return {};
  };
  KVAULT_CHECK(add("ping_us", "Ping, one client", ping, Target{40}));
  KVAULT_CHECK(add("inspect_us", "InspectSession, one client", inspect, {}));
  KVAULT_CHECK(add("stats_us", "Stats, one client", stats, {}));

  std::vector<Client> clients;
  for (std::size_t i = 0; i < kClients; ++i) {
    KVAULT_TRY(Client another, bench.daemon.connect());
    clients.push_back(std::move(another));
  }
  const auto add_load = [&](const std::string& key, const std::string& what,
                            const Request& request) -> Result<> {
    KVAULT_TRY(const std::vector<double> samples, measure_load(clients, request, bench.load_s));
    figures.push_back({key + "_p50_us", what + ", p50", samples, 0.5, Target{100}});
    figures.push_back({key + "_p99_us", what + ", p99", samples, 0.99, Target{1000}});
    return {};
  };
  KVAULT_CHECK(add_load("load_ping", "Ping, 16 clients, 1,000/s", ping));
  KVAULT_CHECK(add_load("load_inspect", "InspectSession, 16 clients, 1,000/s", inspect));
  return figures;
}

}  // namespace kvault::tools
