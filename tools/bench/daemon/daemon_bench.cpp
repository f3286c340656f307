#include "tools/bench/daemon/daemon_bench.hpp"

#include <filesystem>
#include <iterator>
#include <memory>
#include <system_error>

#include "kvault_backends.hpp"
#include "tools/bench/daemon/bench_daemon.hpp"
#include "tools/bench/daemon/request_bench.hpp"
#include "tools/bench/daemon/restore_bench.hpp"
#include "tools/bench/daemon/save_bench.hpp"
#include "tools/bench/daemon/stopwatch.hpp"
#include "tools/bench/daemon/synthetic_session.hpp"
#include "tools/cli/option_checks.hpp"

namespace kvault::tools {
namespace {

constexpr const char* kSession = "benchmark";
/// A page that is sealed, one of history and a tail.
constexpr std::uint64_t kTokensMin = 512;
constexpr std::uint64_t kTokensMax = std::uint64_t{1} << 20U;

void append(std::vector<Figure>& figures, std::vector<Figure> more) {
  figures.insert(figures.end(), std::make_move_iterator(more.begin()),
                 std::make_move_iterator(more.end()));
}

}  // namespace

void add_daemon_options(CLI::App& app, DaemonFlags& flags) {
  CLI::Option* const daemon =
      app.add_flag("--daemon", flags.is_asked,
                   "Measure kvaultd instead, one of its own: resume, saves, requests");
  app.add_option("--session-tokens", flags.n_token, "Length of the stored session (35 kB a token)")
      ->type_name("N")
      ->capture_default_str()
      ->check(whole_number(1))
      ->needs(daemon);
  app.add_option("--folder", flags.folder, "Where to keep it meanwhile, on the disk to measure")
      ->type_name("DIR")
      ->needs(daemon);
  app.add_option("--kvaultd", flags.kvaultd, "The daemon to start")
      ->type_name("FILE")
      ->needs(daemon);
  app.add_flag("--encrypted", flags.is_encrypted, "In an encrypted namespace")->needs(daemon);
  app.add_flag("--few", flags.is_quick, "Few samples: to try it, not to report")->needs(daemon);
}

Result<std::vector<Figure>> measure_daemon(const DaemonFlags& flags) {
  if (flags.n_token < kTokensMin || flags.n_token > kTokensMax) {
    return fail(Errc::invalid_argument, message("--session-tokens ", flags.n_token, " is not in [",
                                                kTokensMin, ", ", kTokensMax, "]"));
  }
  std::error_code ignored;
  const std::filesystem::path parent = flags.folder.empty()
                                           ? std::filesystem::temp_directory_path(ignored)
                                           : std::filesystem::path(flags.folder);
  KVAULT_TRY(const BenchDaemon daemon,
             BenchDaemon::start(parent, flags.kvaultd, flags.is_encrypted));
  KVAULT_TRY(Client client, daemon.connect());
  KVAULT_TRY(const std::unique_ptr<Device> device, open_device("cpu"));
  const Stopwatch storing;
  KVAULT_CHECK(store_synthetic_session(client, kSession, flags.n_token));
  std::vector<Figure> figures = {{"store_s", "storing the session", {storing.seconds()}}};
  KVAULT_TRY(std::vector<Figure> restore,
             measure_restore({client, *device, kSession, flags.is_quick ? 2U : 9U}));
  append(figures, std::move(restore));
  KVAULT_TRY(std::vector<Figure> requests,
             measure_requests(
                 {daemon, kSession, flags.is_quick ? 100U : 5000U, flags.is_quick ? 0.2 : 10}));
  append(figures, std::move(requests));
  KVAULT_TRY(std::vector<Figure> saves, measure_saves({client, *device, kSession, daemon.folder(),
                                                       flags.is_quick ? 2U : 21U}));
  append(figures, std::move(saves));
  return figures;
}

}  // namespace kvault::tools
