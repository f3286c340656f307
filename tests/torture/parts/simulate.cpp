#include <algorithm>
#include <deque>
#include <memory>

#include "tests/torture/disk/medium.hpp"
#include "tests/torture/model/player.hpp"
#include "tests/torture/parts/check.hpp"
#include "tests/torture/parts/part.hpp"

/// Many clients of one store, their work cut into records and mixed by a seed: a client commits
/// what it began, while others have committed, rolled back or removed the same session in between.
/// The model says beforehand which answer each of them gets.
namespace kvault::torture {
namespace {

constexpr std::size_t kClients = 6;
constexpr std::uint64_t kStepsPerStore = 400;
constexpr std::uint64_t kStepsPerCheck = 25;

/// Work of one client that is under way: records sent, a commit to come.
struct Errand {
  SessionTruth base;  ///< the session as the client saw it
  CommitPlan plan;
  std::size_t n_sent = 0;
  std::vector<RecordHandle> handles{};
};

class Simulation {
 public:
  Simulation(const std::filesystem::path& directory, std::uint64_t seed, Report& report)
      : report_(report),
        seed_(seed),
        target_(directory, seed % 2 == 1),
        player_(target_, seed),
        random_(~seed) {
    require(Image().write_to(directory), "an empty directory");
    require(target_.open(), "the first opening");
    errands_.resize(kClients);
  }

  /// False once something is not as the model says.
  bool run(std::uint64_t n_step) {
    for (step_ = 1; step_ <= n_step; ++step_) {
      const bool is_well = random_.integer(0, 2) == 0 ? move_whole() : move_client();
      report_.count("simulated_steps");
      if (!is_well) return false;
      if (step_ % kStepsPerCheck == 0 && !check()) return false;
    }
    return check();
  }

 private:
  std::string where() const { return message("seed ", seed_, ", step ", step_); }

  bool complain(const std::string& sentence) {
    report_.wrong(message(where(), ": ", sentence));
    return false;
  }

  /// One operation of the player, whole. A reopening ends everybody's errands.
  bool move_whole() {
    const Result<> done = player_.step();
    if (player_.last_operation().starts_with("reopen")) {
      for (auto& errand : errands_) errand.reset();
    }
    if (!done) return complain(message(player_.last_operation(), ": ", done.error().message));
    if (!player_.complaints().empty()) return complain(player_.complaints().front());
    return true;
  }

  bool move_client() {
    std::unique_ptr<Errand>& errand = errands_[random_.next() % errands_.size()];
    if (!errand) return begin(errand);
    if (errand->n_sent < errand->plan.uploads.size()) return send(errand);
    return finish(errand);
  }

  bool begin(std::unique_ptr<Errand>& errand) {
    const std::vector<std::string> names = player_.world().names();
    if (names.empty()) return true;
    const SessionTruth& truth = *player_.world().find(names[random_.next() % names.size()]);
    errand = std::make_unique<Errand>(
        Errand{.base = truth, .plan = plan_append(truth, random_), .n_sent = 0});
    return true;
  }

  /// By its id: it may have another name by now. Null where it is gone.
  const SessionTruth* session_of(const Errand& errand) const {
    for (const std::string& name : player_.world().names()) {
      const SessionTruth* truth = player_.world().find(name);
      if (truth->id == errand.base.id) return truth;
    }
    return nullptr;
  }
  bool is_there(const Errand& errand) const { return session_of(errand) != nullptr; }

  bool send(std::unique_ptr<Errand>& errand) {
    const Result<RecordHandle> handle =
        target_.send(*errand->base.id, errand->plan.uploads[errand->n_sent]);
    if (!handle) {
      const bool is_right = !is_there(*errand) && handle.error().code == Errc::not_found;
      const std::string words = handle.error().message;
      errand.reset();
      return is_right || complain("a record is refused: " + words);
    }
    if (!is_there(*errand)) return complain("a record is taken for a session that is gone");
    errand->handles.push_back(*handle);
    ++errand->n_sent;
    return true;
  }

  /// The commit is judged by the session as it is now, not as the client saw it.
  bool finish(std::unique_ptr<Errand>& finished) {
    const std::unique_ptr<Errand> errand = std::move(finished);
    std::string name = errand->base.description.name;
    Outcome outcome{std::nullopt, Errc::not_found};
    if (const SessionTruth* session = session_of(*errand)) {
      name = session->description.name;
      outcome = predict(*session, errand->plan);
    }
    const Result<CommitInfo> info = target_.store().commit(
        *errand->base.id, {errand->plan.expected_commit_number, errand->plan.n_token(),
                           errand->plan.kept_n_token, errand->plan.kept_n_page, errand->handles});
    if (!outcome.after) {
      report_.count("simulated_refusals");
      if (!info && info.error().code == outcome.refusal) return true;
      return complain(message("a commit to '", name,
                              "' should be refused: ", name_of(outcome.refusal),
                              info ? ", and is taken" : ", not: " + info.error().message));
    }
    if (!info) return complain(message("a commit to '", name, "': ", info.error().message));
    player_.world().settle(name, std::move(outcome.after));
    return true;
  }

  bool check() {
    const Verdict verdict = check_target(target_, player_.world());
    report_.add(verdict, where());
    return verdict.is_clean();
  }

  Report& report_;
  std::uint64_t seed_;
  std::uint64_t step_ = 0;
  StoreTarget target_;
  Player player_;
  test::Random random_;
  std::vector<std::unique_ptr<Errand>> errands_;
};

}  // namespace

void run_simulate(const TortureOptions& options, Report& report) {
  const std::uint64_t n_step = options.choose(options.n_step, 1'200, 100'000);
  for (std::uint64_t n = 0; n < n_step; n += kStepsPerStore) {
    // The first store's seed is the one given, so that a failure's seed replays it at once.
    Simulation simulation(options.scratch / "simulated", options.seed + n / kStepsPerStore, report);
    if (!simulation.run(std::min(kStepsPerStore, n_step - n))) return;
    report.progress(message(report.counter("simulated_steps"), " steps"));
  }
}

}  // namespace kvault::torture
