#include <array>
#include <cerrno>
#include <limits>
#include <set>

#include "core/os/directory.hpp"
#include "tests/torture/disk/file_tap.hpp"
#include "tests/torture/disk/medium.hpp"
#include "tests/torture/model/player.hpp"
#include "tests/torture/parts/check.hpp"
#include "tests/torture/parts/part.hpp"

/// Every n-th system call of a program fails, once or from then on. A call that must not fail makes
/// an error with a name; nothing acknowledged is lost, neither now nor after a crash, and what a
/// failed sync left in the cache is lost in one.
namespace kvault::torture {
namespace {

constexpr std::uint64_t kForEver = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kSteps = 8;
constexpr std::uint64_t kStepsAfterwards = 3;

struct Variant {
  std::string_view name;
  Call call;
  int error_number;
  bool is_short_write = false;
};

constexpr std::array<Variant, 12> kVariants = {{{"read EIO", Call::read, EIO},
                                                {"read ENOMEM", Call::read, ENOMEM},
                                                {"write EIO", Call::write, EIO},
                                                {"write ENOSPC", Call::write, ENOSPC},
                                                {"short write", Call::write, ENOSPC, true},
                                                {"sync EIO", Call::sync, EIO},
                                                {"open EMFILE", Call::open, EMFILE},
                                                {"truncate EIO", Call::truncate, EIO},
                                                {"rename EIO", Call::rename, EIO},
                                                {"unlink EIO", Call::unlink, EIO},
                                                {"mkdir ENOSPC", Call::mkdir, ENOSPC},
                                                {"mmap ENOMEM", Call::mmap, ENOMEM}}};

/// Errors of a machine that fails; anything else sends a reader in the wrong direction.
bool is_honest(Errc code) {
  return code == Errc::io || code == Errc::disk_full || code == Errc::permission ||
         code == Errc::out_of_memory;
}

class FaultRun {
 public:
  FaultRun(const TortureOptions& options, Report& report)
      : report_(report),
        directory_(options.scratch / "faulty"),
        crashed_(options.scratch / "faulty-crashed") {}

  /// The fault comes while the store makes its catalog anew.
  void set_rebuild(bool is_rebuild) { is_rebuild_ = is_rebuild; }

  /// False once the program has fewer calls than `fault.at`.
  bool run(const Variant& variant, const Fault& fault, std::uint64_t seed) {
    where_ = message("program ", seed, ", ", variant.name, " at call ", fault.at,
                     fault.n_failing == 1 ? "" : " and on", is_rebuild_ ? " of a rebuild" : "");
    require(Image().write_to(directory_), "an empty directory");
    FileTap& tap = FileTap::instance();
    tap.start(directory_);
    is_encrypted_ = seed % 2 == 1;
    StoreTarget target(directory_, is_encrypted_);
    Player player(target, seed);
    if (is_rebuild_) lose_catalog(target, player);
    tap.set_fault(fault);
    const bool was_hit = play(target, player, variant);
    tap.set_fault(std::nullopt);
    Medium medium;
    for (const Event& event : tap.journal()) medium.apply(event);
    if (was_hit) {
      report_.count("faults");
      check_running(target, player);
    }
    tap.stop();
    target.close();
    if (!was_hit) return false;
    check_crashed(medium.lost_power(), player_world_, "then power fails");
    check_crashed(medium.killed(), player_world_, "then killed");
    return true;
  }

 private:
  void lose_catalog(StoreTarget& target, Player& player) {
    for (std::uint64_t i = 0; i < 2 * kSteps; ++i) require(player.step(), "a healthy store fails");
    target.close();
    require(remove_file(directory_ / "catalog.sqlite"), "the catalog");
  }

  bool play(StoreTarget& target, Player& player, const Variant& variant) {
    const Result<> opened = target.open();
    if (!opened) note_error(opened.error(), variant, "open");
    for (std::uint64_t i = 0; i < (is_rebuild_ ? 0 : kSteps); ++i) {
      const Result<> done = player.step();
      if (!done) note_error(done.error(), variant, player.last_operation());
    }
    // A store that is closed by the fault is not open; its end is part of the program too.
    if (const Result<> again = target.reopen(); !again) {
      note_error(again.error(), variant, "reopen");
    }
    player_world_ = player.world();
    return FileTap::instance().was_hit();
  }

  void note_error(const Error& error, const Variant& variant, const std::string& operation) {
    report_.count("fault_errors");
    // In doubt after an earlier error, clients are told what the store knows.
    const bool is_doubt = error.code == Errc::conflict || error.code == Errc::already_exists ||
                          error.code == Errc::not_found || error.code == Errc::incomplete;
    if (is_honest(error.code) || is_doubt) return;
    const std::string name = message(variant.name, " makes ", operation.substr(0, 6), ": ",
                                     name_of(error.code), ": ", error.message);
    if (dishonest_.insert(name.substr(0, 40)).second) report_.note(name);
  }

  /// The fault is over: the store that lived through it serves what it must and goes on.
  void check_running(StoreTarget& target, Player& player) {
    World& world = player.world();
    report_.add(check_target(target, world), where_ + ", still running");
    for (std::uint64_t i = 0; i < kStepsAfterwards; ++i) {
      const Result<> done = player.step();
      if (!done) {
        report_.add(broken(player.last_operation(), done.error()), where_ + ", healthy again");
        return;
      }
    }
    report_.add(check_store(target, world), where_ + ", healthy again");
    for (const std::string& complaint : player.complaints()) {
      report_.wrong(message(where_, ": ", complaint));
    }
  }

  void check_crashed(const Image& image, World world, const std::string& what) {
    require(image.write_to(crashed_), "an image");
    StoreTarget target(crashed_, is_encrypted_);
    report_.add(check_store(target, world), message(where_, ", ", what));
  }

  Report& report_;
  std::filesystem::path directory_;
  std::filesystem::path crashed_;
  std::string where_;
  bool is_rebuild_ = false;
  bool is_encrypted_ = false;
  World player_world_;
  std::set<std::string> dishonest_;
};

/// n = 1, 2, 3, ... until the program runs through.
void run_variant(FaultRun& run, const Variant& variant, std::uint64_t n_failing,
                 std::uint64_t stride, std::uint64_t seed) {
  Fault fault{.call = variant.call,
              .at = 1,
              .n_failing = n_failing,
              .error_number = variant.error_number,
              .is_short_write = variant.is_short_write};
  while (run.run(variant, fault, seed)) fault.at += stride;
}

}  // namespace

void run_fault(const TortureOptions& options, Report& report) {
  const std::uint64_t n_program = options.is_short ? 2 : 4;
  const std::uint64_t stride = options.is_short ? 26 : 1;
  FaultRun run(options, report);
  for (std::uint64_t program = 0; program < n_program; ++program) {
    for (const Variant& variant : kVariants) {
      for (const std::uint64_t n_failing : {std::uint64_t{1}, kForEver}) {
        for (const bool is_rebuild : {false, true}) {
          run.set_rebuild(is_rebuild);
          run_variant(run, variant, n_failing, stride, options.seed * 1009 + program);
          report.progress(message(report.counter("faults"), " faults, ", variant.name));
        }
      }
    }
  }
}

}  // namespace kvault::torture
