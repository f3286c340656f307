#include <poll.h>
#include <signal.h>

#include <fstream>
#include <memory>
#include <thread>

#include "tests/torture/disk/medium.hpp"
#include "tests/torture/model/client_target.hpp"
#include "tests/torture/model/player.hpp"
#include "tests/torture/parts/check.hpp"
#include "tests/torture/parts/part.hpp"

/// kvaultd dies by kill -9 under load, at random moments and before chosen system calls, by a
/// failed allocation, and meets accept() calls that fail. Its client keeps the books.
namespace kvault::torture {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kIsSanitized = true;
#else
constexpr bool kIsSanitized = false;
#endif
constexpr std::uint64_t kKillsPerStore = 40;
constexpr std::uint64_t kStepsMax = 400;
constexpr std::uint32_t kLoadMsMax = 60;

std::string preload() { return std::string("LD_PRELOAD=") + KVAULT_TORTURE_PRELOAD; }

/// Kills a process after a while; joins at the end.
class Killer {
 public:
  Killer(pid_t pid, std::uint64_t after_us)
      : thread_([pid, after_us] {
          ::usleep(static_cast<useconds_t>(after_us));
          ::kill(pid, SIGKILL);
        }) {}
  Killer(const Killer&) = delete;
  Killer& operator=(const Killer&) = delete;
  ~Killer() { thread_.join(); }

 private:
  std::thread thread_;
};

/// One store that lives through many daemons.
class Victim {
 public:
  Victim(const TortureOptions& options, Report& report, std::uint64_t seed, bool is_encrypted)
      : report_(report),
        directory_(options.scratch / "victim"),
        seed_(seed),
        is_encrypted_(is_encrypted),
        daemon_(start({})),
        target_(*daemon_),
        player_(target_, seed) {}

  /// Load until something ends the daemon that runs with `environment`; then a check.
  void die_once(const std::vector<std::string>& environment, std::uint64_t after_us,
                const std::string& how) {
    ++n_death_;
    restart(environment);
    {
      std::unique_ptr<Killer> killer;
      if (after_us > 0) killer = std::make_unique<Killer>(daemon_->pid(), after_us);
      load();
    }
    daemon_->kill();
    check(how);
  }

  /// The daemon's allocation fails: any end is allowed, a hang and a loss are not.
  void starve_once(std::uint64_t n) {
    ++n_death_;
    restart({preload(), message("KVAULT_FAIL_ALLOCATION=", n)});
    for (std::uint64_t i = 0; i < 12; ++i) {
      const Result<> done = target_.connect(2000).has_value() ? player_.step() : ended();
      if (!done && done.error().code == Errc::timeout) {
        report_.wrong(
            message(where("allocation"), n, ": the client hangs: ", done.error().message));
      }
      if (daemon_->has_ended()) break;
    }
    daemon_->kill();
    check(message("allocation ", n));
  }

 private:
  static Result<> ended() { return fail(Errc::unreachable, "the daemon has ended"); }

  std::unique_ptr<Daemon> start(const std::vector<std::string>& environment) {
    auto daemon = std::make_unique<Daemon>(directory_, environment);
    if (is_encrypted_) daemon->encrypt();
    return daemon;
  }
  void restart(const std::vector<std::string>& environment) {
    daemon_.reset();
    daemon_ = start(environment);
    target_.set_daemon(*daemon_);
  }
  std::string where(const std::string& how) const {
    return message("seed ", seed_, ", death ", n_death_, ", ", how, " ");
  }

  void load() {
    if (!target_.connect()) return;
    for (std::uint64_t i = 0; i < kStepsMax; ++i) {
      const Result<> done = player_.step();
      if (done) {
        report_.count("kill_steps");
        continue;
      }
      if (done.error().code == Errc::timeout) {
        report_.wrong(where("") + "a client hangs: " + done.error().message);
      }
      return;
    }
  }

  void check(const std::string& how) {
    if (const std::string said = daemon_->sanitizer_report(); !said.empty()) {
      report_.wrong(where(how) + said);
    }
    restart({});
    const Result<> connected = target_.connect();
    if (!connected) {
      report_.add(broken("start", connected.error()), where(how));
      return;
    }
    report_.add(check_target(target_, player_.world()), where(how));
    for (const std::string& complaint : player_.complaints()) {
      report_.wrong(where(how) + complaint);
    }
  }

  Report& report_;
  std::filesystem::path directory_;
  std::uint64_t seed_;
  bool is_encrypted_;
  std::uint64_t n_death_ = 0;
  std::unique_ptr<Daemon> daemon_;
  ClientTarget target_;
  Player player_;
};

void kill_many(const TortureOptions& options, Report& report, test::Random& random) {
  const std::uint64_t n_kill = options.choose(options.n_kill, 10, 600);
  const std::uint64_t per_store = options.is_short ? 5 : kKillsPerStore;
  for (std::uint64_t n = 0; n < n_kill; n += per_store) {
    require(Image().write_to(options.scratch / "victim"), "an empty directory");
    const bool is_encrypted = n / per_store % 2 == 1;
    Victim victim(options, report, options.seed * 131 + n, is_encrypted);
    report.count("kill_stores_encrypted", is_encrypted ? 1 : 0);
    for (std::uint64_t i = 0; i < std::min(per_store, n_kill - n); ++i) {
      if (random.integer(0, 1) == 0) {
        const std::uint64_t after_us = 500 + random.next() % (kLoadMsMax * 1000);
        victim.die_once({}, after_us, message("kill after ", after_us, " us"));
      } else {
        const std::uint64_t at = 1 + random.next() % 400;
        victim.die_once({preload(), message("KVAULT_KILL_AT=", at)}, 0,
                        message("kill at change ", at));
      }
      report.count("kills");
      report.progress(message(report.counter("kills"), " kills"));
    }
  }
}

void starve_many(const TortureOptions& options, Report& report, test::Random& random) {
  const std::uint64_t n_run = options.is_short ? 5 : 400;
  require(Image().write_to(options.scratch / "victim"), "an empty directory");
  Victim victim(options, report, options.seed * 137, options.seed % 2 == 1);
  for (std::uint64_t i = 0; i < n_run; ++i) {
    // Allocations of the start, then ones under load.
    const std::uint64_t n = i < n_run / 2 ? 1 + i * 7 : 1 + random.next() % 6000;
    victim.starve_once(n);
    report.count("allocation_failures");
    report.progress(message(report.counter("allocation_failures"), " failed allocations"));
  }
}

/// While accept() fails the daemon must neither die nor spin, and afterwards it must serve.
void refuse_connections(const TortureOptions& options, Report& report) {
  constexpr int kFailingMs = 1500;
  const std::filesystem::path directory = options.scratch / "victim";
  require(Image().write_to(directory), "an empty directory");
  const std::filesystem::path file = directory / "accept-fails";
  std::ofstream(file) << "while this is here";
  Daemon daemon(directory, {preload(), "KVAULT_FAIL_ACCEPT=1",
                            message("KVAULT_FAIL_ACCEPT_WHILE=", file.native())});
  Result<Client> first = daemon.connect();
  if (!first) return report.add(broken("connect", first.error()), "accept");
  std::thread second([&] { static_cast<void>(daemon.connect(1).has_value()); });
  ::poll(nullptr, 0, 200);
  const std::uint64_t before_ms = daemon.cpu_ms();
  ::poll(nullptr, 0, kFailingMs);
  const std::uint64_t spent_ms = daemon.cpu_ms() - before_ms;
  report.count("accept_failing_cpu_ms", spent_ms);
  if (spent_ms > kFailingMs / 4) {
    report.wrong(message("accept() fails for ", kFailingMs, " ms, and the daemon spins for ",
                         spent_ms, " ms"));
  }
  if (!first->ping()) report.wrong("accept() fails, and a client that was there is not served");
  std::filesystem::remove(file);
  second.join();
  const Result<Client> third = daemon.connect();
  if (!third) report.add(broken("connect afterwards", third.error()), "accept");
}

}  // namespace

void run_kill(const TortureOptions& options, Report& report) {
  test::Random random(options.seed * 41 + 3);
  kill_many(options, report, random);
  // The sanitizer's allocator is not libc's, and its operator new no caller of malloc().
  if (!kIsSanitized) starve_many(options, report, random);
  refuse_connections(options, report);
}

}  // namespace kvault::torture
