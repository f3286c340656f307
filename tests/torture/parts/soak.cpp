#include <poll.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "tests/torture/disk/medium.hpp"
#include "tests/torture/model/client_target.hpp"
#include "tests/torture/model/player.hpp"
#include "tests/torture/parts/check.hpp"
#include "tests/torture/parts/part.hpp"

/// Many clients work with one kvaultd for minutes, each on sessions of its own, and come and go.
/// Its memory and descriptors at the end are those of the beginning, and nothing is lost.
namespace kvault::torture {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kStepsPerConnection = 60;

/// Sees one client's sessions as if they were all: names get the client's own prefix on their way.
class Prefixed final : public Target {
 public:
  Prefixed(const Daemon& daemon, std::string prefix) : inner_(daemon), prefix_(std::move(prefix)) {}

  Result<> connect() { return inner_.connect(); }
  Result<SessionId> create(const SessionDescription& description) override {
    SessionDescription own = description;
    own.name = prefix_ + own.name;
    return inner_.create(own);
  }
  Result<> remove(const SessionTruth& session) override { return inner_.remove(own(session)); }
  Result<> commit(const SessionTruth& session, const CommitPlan& plan) override {
    return inner_.commit(own(session), plan);
  }
  Result<> abandon(const SessionTruth& session, const std::vector<Upload>& uploads) override {
    return inner_.abandon(own(session), uploads);
  }
  Result<Forked> fork(const SessionTruth& source, std::uint64_t n_token,
                      const std::string& name) override {
    return inner_.fork(own(source), n_token, prefix_ + name);
  }
  Result<> update(const SessionTruth& session, const SessionChange& change) override {
    SessionChange renamed = change;
    if (change.name) renamed.name = prefix_ + *change.name;
    return inner_.update(own(session), renamed);
  }
  /// The sessions of others match too.
  Result<Matched> match(const SessionDescription& description,
                        const std::vector<std::uint32_t>& tokens) override {
    KVAULT_TRY(Matched matched, inner_.match(description, tokens));
    matched.is_judged = false;
    return matched;
  }
  Result<> maintain() override { return inner_.maintain(); }
  Result<> expire(const SessionTruth& session) override { return inner_.expire(own(session)); }
  Result<> outlive(const SessionTruth& session) override { return inner_.outlive(own(session)); }
  Result<> repair(const SessionTruth& session) override { return inner_.repair(own(session)); }
  Result<> reopen() override { return inner_.reopen(); }
  Result<std::vector<ServedSession>> served() override {
    KVAULT_TRY(const std::vector<ServedSession> all, inner_.served());
    std::vector<ServedSession> mine;
    for (const ServedSession& session : all) {
      if (!session.description.name.starts_with(prefix_)) continue;
      mine.push_back(session);
      mine.back().description.name.erase(0, prefix_.size());
    }
    return mine;
  }
  Result<std::vector<std::string>> verify() override { return inner_.verify(); }

 private:
  SessionTruth own(SessionTruth session) const {
    session.description.name = prefix_ + session.description.name;
    return session;
  }
  ClientTarget inner_;
  std::string prefix_;
};

/// One client's life; its complaint, if it has one.
class Worker {
 public:
  Worker(const Daemon& daemon, std::uint64_t seed, Clock::time_point end,
         std::atomic<std::uint64_t>& n_step)
      : target_(daemon, message("client ", seed, " ")), player_(target_, seed) {
    thread_ = std::thread([this, end, &n_step] { work(end, n_step); });
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    if (thread_.joinable()) thread_.join();
  }
  void join() { thread_.join(); }
  const std::string& complaint() const { return complaint_; }
  /// After all have ended: what is served of this client's sessions. Leaves nothing behind.
  Verdict check_and_remove() {
    if (const Result<> connected = target_.connect(); !connected) {
      return broken("connect", connected.error());
    }
    std::vector<ServedSession> served;
    Verdict verdict = check_served(target_, player_.world(), served);
    for (const std::string& name : player_.world().names()) {
      if (const Result<> gone = target_.remove(*player_.world().find(name)); !gone) {
        return broken("remove", gone.error());
      }
    }
    return verdict;
  }

 private:
  void work(Clock::time_point end, std::atomic<std::uint64_t>& n_step) {
    while (Clock::now() < end && complaint_.empty()) {
      if (const Result<> connected = target_.connect(); !connected) {
        complaint_ = connected.error().message;
      }
      for (std::uint64_t i = 0; i < kStepsPerConnection && complaint_.empty(); ++i) {
        const Result<> done = player_.step();
        if (!done) complaint_ = message(player_.last_operation(), ": ", done.error().message);
        ++n_step;
      }
    }
  }
  Prefixed target_;
  Player player_;
  std::string complaint_;
  std::thread thread_;
};

void measure(const Daemon& daemon, const std::string& when, Report& report) {
  report.count("soak_" + when + "_resident_kib", daemon.resident_bytes() / 1024);
  report.count("soak_" + when + "_descriptors", daemon.n_descriptor());
}

}  // namespace

void run_soak(const TortureOptions& options, Report& report) {
  const std::filesystem::path directory = options.scratch / "soak";
  require(Image().write_to(directory), "an empty directory");
  const Daemon daemon(directory);
  {
    const Result<Client> first = daemon.connect();
    if (!first) return report.add(broken("connect", first.error()), "soak");
  }
  measure(daemon, "begin", report);
  const auto minutes = std::chrono::duration<double, std::ratio<60>>(options.minutes);
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(minutes);
  std::atomic<std::uint64_t> n_step = 0;
  std::vector<std::unique_ptr<Worker>> workers;
  for (std::uint32_t i = 0; i < options.n_client; ++i) {
    workers.push_back(std::make_unique<Worker>(daemon, options.seed * 1000 + i, end, n_step));
  }
  const auto warm = Clock::now() + (end - Clock::now()) / 5;
  for (bool is_warm = false; Clock::now() < end;) {
    ::poll(nullptr, 0, 200);
    report.progress(message(n_step.load(), " steps, ", daemon.resident_bytes() >> 20U, " MiB"));
    if (is_warm || Clock::now() < warm) continue;
    measure(daemon, "warm", report);
    is_warm = true;
  }
  measure(daemon, "busy", report);
  for (const auto& worker : workers) worker->join();
  for (const auto& worker : workers) {
    if (!worker->complaint().empty()) report.wrong(worker->complaint());
    report.add(worker->check_and_remove(), "soak");
  }
  workers.clear();
  ::poll(nullptr, 0, 1000);  // closed connections are swept by the daemon's tick
  measure(daemon, "end", report);
  if (const std::string said = daemon.sanitizer_report(); !said.empty()) report.wrong(said);
  report.count("soak_steps", n_step);
}

}  // namespace kvault::torture
