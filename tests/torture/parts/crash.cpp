#include <algorithm>
#include <set>

#include "tests/torture/disk/file_tap.hpp"
#include "tests/torture/disk/image_of.hpp"
#include "tests/torture/disk/medium.hpp"
#include "tests/torture/model/player.hpp"
#include "tests/torture/parts/check.hpp"
#include "tests/torture/parts/part.hpp"

/// Random programs are recorded down to the system call; then the machine dies at every call, in
/// every way that loses some of what was not synced, and the store is opened on what is left.
namespace kvault::torture {
namespace {

constexpr std::uint64_t kStepsMax = 8;
constexpr std::uint64_t kStepsWithQuota = 30;  // so many that some session has to go
constexpr std::uint64_t kSinglesMax = 6;
/// So long that SQLite writes its log back into the catalog; one of so many programs.
constexpr std::uint64_t kStepsOfLongProgram = 240;
constexpr std::uint64_t kLongProgramEvery = 8;
/// The least, of which other namespaces take so much that little is left.
constexpr std::uint64_t kQuota = std::uint64_t{4} << 20U;
constexpr std::uint64_t kOtherBytes = kQuota / 16 * 12;
/// Of a long program only the calls around that are examined.
constexpr std::size_t kCallsAroundCheckpoint = 25;

/// What a program did to its disk, and the worlds that its marks stand for.
struct Recording {
  Medium before;  ///< what the recording began with
  Journal journal;
  std::vector<World> worlds;
  std::uint64_t n_eviction = 0;
  std::uint64_t moved_bytes = 0;  ///< by compaction
};

/// What is recorded.
struct Program {
  bool is_long = false;
  std::uint64_t n_step_before = 0;  ///< unrecorded
  bool has_quota = false;
  bool is_encrypted = false;
};

Program plain_program_of(std::uint64_t i) {
  if (i % kLongProgramEvery == kLongProgramEvery - 1) return {.is_long = true};
  if (i % 4 == 1) return {.n_step_before = 30 + i % 17};
  if (i % 4 == 2) return {.n_step_before = 190 + i % 17, .has_quota = true};
  return {};
}

/// Of so many programs one is long, some go on with an old store, and some of these have a quota
/// that their sessions do not fit into. Every third store is encrypted.
Program program_of(std::uint64_t i) {
  Program program = plain_program_of(i);
  program.is_encrypted = i % 3 == 1;
  return program;
}

/// Names that an eviction took in the last step; the worlds since `first_world` allow for it.
void note_evictions(StoreTarget& target, Player& player, Recording& recording,
                    std::size_t first_world) {
  for (const std::string& name : player.world().names()) {
    if (target.store().find_session_by_name(name)) continue;
    for (std::size_t i = first_world; i < recording.worlds.size(); ++i) {
      recording.worlds[i].intend(name, std::nullopt);
    }
    player.world().settle(name, std::nullopt);
    recording.n_eviction += 1;
  }
}

/// One operation. A quota may leave no room for it; nothing else keeps a healthy store from it.
void step(Player& player) {
  const Result<> done = player.step();
  if (!done && done.error().code == Errc::disk_full) return;
  require(done, "a healthy store fails");
}

/// Lets a store grow old and untidy before anybody listens.
Image age(StoreTarget& target, Player& player, const std::filesystem::path& directory,
          std::uint64_t n_step) {
  require(target.open(), "the first opening");
  for (std::uint64_t i = 0; i < n_step; ++i) {
    step(player);
    Recording ignored;
    note_evictions(target, player, ignored, 0);
  }
  target.close();
  return image_of(directory);
}

/// Records one opening, some steps and one orderly end.
Recording record_program(const std::filesystem::path& directory, std::uint64_t seed,
                         const Program& program) {
  require(Image().write_to(directory), "an empty directory");
  Recording recording;
  FileTap& tap = FileTap::instance();
  StoreTarget target(directory, program.is_encrypted);
  Player player(target, seed);
  if (program.has_quota) target.set_quota(kQuota, kOtherBytes);
  if (program.n_step_before > 0) {
    recording.before = Medium(age(target, player, directory, program.n_step_before));
  }
  tap.start(directory, recording.before.names(), recording.before.next_file());
  const auto note = [&](const World& world) {
    tap.mark(recording.worlds.size());
    recording.worlds.push_back(world);
  };
  player.on_change = note;
  note(player.world());
  require(target.open(), "the first opening");
  const std::uint64_t n_step = program.is_long     ? kStepsOfLongProgram
                               : program.has_quota ? kStepsWithQuota
                                                   : 3 + player.random().next() % (kStepsMax - 2);
  if (program.is_long) player.stay_open();
  const std::uint64_t n_moved_before = target.moved_bytes();
  for (std::uint64_t i = 0; i < n_step; ++i) {
    const std::size_t n_world = recording.worlds.size();
    step(player);
    note_evictions(target, player, recording, n_world);
    if (player.world().names().empty()) continue;
    note(player.world());
  }
  recording.moved_bytes = target.moved_bytes() - n_moved_before;
  target.close();
  recording.journal = tap.stop();
  return recording;
}

/// The calls near a write to the catalog itself, not to its log.
std::vector<bool> near_checkpoints(const Journal& journal) {
  std::vector<bool> is_near(journal.size(), false);
  for (std::size_t at = 0; at < journal.size(); ++at) {
    if (journal[at].kind != EventKind::write || journal[at].path != "catalog.sqlite") continue;
    const std::size_t begin = at - std::min(at, kCallsAroundCheckpoint);
    const std::size_t end = std::min(at + kCallsAroundCheckpoint, journal.size());
    std::fill(is_near.begin() + static_cast<std::ptrdiff_t>(begin),
              is_near.begin() + static_cast<std::ptrdiff_t>(end), true);
  }
  return is_near;
}

/// Ways to lose some of what is pending at one moment.
class Choices {
 public:
  Choices(const Medium& medium, test::Random& random)
      : medium_(medium), random_(random), n_pending_(medium.pending().size()) {}

  std::vector<Choice> all() {
    std::vector<Choice> choices;
    choices.push_back(all_kept());
    if (n_pending_ == 0) return choices;
    choices.push_back(all_lost());
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(n_pending_, kSinglesMax); ++i) {
      choices.push_back(all_kept());
      const bool is_newest = i < 2;
      choices.back().keep[is_newest ? n_pending_ - 1 - std::min(i, n_pending_ - 1)
                                    : random_.next() % n_pending_] = false;
    }
    for (const bool grows : {false, true, false}) {
      choices.push_back(random_subset());
      choices.back().grows_with_zeros = grows;
    }
    choices.push_back(all_lost());
    choices.back().grows_with_zeros = true;
    for (const std::uint64_t unit : {512U, 4096U}) {
      for (const bool keeps_others : {true, false}) {
        choices.push_back(torn(unit, keeps_others ? all_kept() : random_subset()));
      }
    }
    choices.push_back(only(true));
    choices.push_back(only(false));
    return choices;
  }

 private:
  Choice with(bool keep) const {
    return {.keep = std::vector<bool>(n_pending_, keep), .torn = std::nullopt};
  }
  /// What a killed process leaves; also what a disk that was quick enough leaves.
  Choice all_kept() const { return with(true); }
  Choice all_lost() const { return with(false); }
  Choice random_subset() {
    Choice choice = with(false);
    for (std::size_t i = 0; i < n_pending_; ++i) choice.keep[i] = random_.integer(0, 1) == 1;
    return choice;
  }
  /// Directory entries and no bytes, or bytes and no entries.
  Choice only(bool of_directory) const {
    Choice choice = with(false);
    for (std::size_t i = 0; i < n_pending_; ++i) {
      choice.keep[i] = medium_.pending()[i].is_of_directory() == of_directory;
    }
    return choice;
  }
  Choice torn(std::uint64_t unit, Choice choice) {
    const std::size_t index =
        random_.integer(0, 1) == 0 ? n_pending_ - 1 : random_.next() % n_pending_;
    choice.keep[index] = true;
    choice.torn = index;
    const Event& event = medium_.pending()[index].event;
    const std::uint64_t n_unit = event.bytes.size() / unit + 1;
    // Units are the disk's: they begin at multiples of the file's offset.
    const std::uint64_t cut = (random_.next() % (n_unit + 1)) * unit;
    const std::uint64_t at = cut - std::min(cut, event.offset % unit);
    const bool keeps_front = random_.integer(0, 2) > 0;
    choice.torn_begin = keeps_front ? 0 : at;
    choice.torn_end = keeps_front ? at : event.bytes.size();
    return choice;
  }

  const Medium& medium_;
  test::Random& random_;
  std::size_t n_pending_;
};

/// Goes through the moments of a recording and examines what a crash there leaves.
class Examiner {
 public:
  Examiner(const TortureOptions& options, Report& report, std::uint64_t program_seed,
           bool is_encrypted)
      : options_(options),
        report_(report),
        program_seed_(program_seed),
        is_encrypted_(is_encrypted),
        random_(program_seed * 77 + 5),
        directory_(options.scratch / "crashed") {}

  /// `is_examined`: the calls that may be the last ones; empty: all.
  void run(const Recording& recording, const std::vector<bool>& is_examined,
           std::uint64_t n_image_max) {
    const std::uint64_t n_done = report_.counter("crash_images");
    // Moments are taken in strides, so that every program is seen from end to end.
    const std::size_t stride = options_.is_short ? 17 : 3;
    std::size_t next = random_.next() % stride;
    Medium medium = recording.before;
    std::size_t world = 0;
    for (std::size_t at = 0; at < recording.journal.size(); ++at) {
      const Event& event = recording.journal[at];
      medium.apply(event);
      if (event.kind == EventKind::mark) world = event.offset;
      if (!is_examined.empty() && !is_examined[at]) continue;
      if (at < next && at + 1 != recording.journal.size()) continue;
      next = at + 1 + random_.next() % (2 * stride);
      moment_ = at;
      crash_here(medium, recording.worlds[world]);
      if (report_.counter("crash_images") - n_done >= n_image_max) return;
    }
  }

 private:
  void crash_here(const Medium& medium, const World& world) {
    std::set<std::uint64_t> seen;
    std::vector<Choice> choices = Choices(medium, random_).all();
    for (std::size_t i = 0; i < choices.size(); ++i) {
      if (options_.is_short && i > 1 && random_.integer(0, 2) != 0) continue;
      const Image image = medium.image(choices[i]);
      if (!seen.insert(image.digest()).second) continue;
      examine(image, world, message("choice ", i));
      if (random_.integer(0, 4) == 0) without_catalog(image, world);
      if (random_.integer(0, 11) == 0) crash_again(Medium(image), world, "power, then ");
      if (i == 0 && random_.integer(0, 7) == 0) crash_again(medium, world, "kill, then ");
      if (i == 0 && random_.integer(0, 7) == 0) crash_while_rebuilding(image, world);
    }
  }

  std::string where(const std::string& what) const {
    return message("program ", program_seed_, ", call ", moment_, ", ", what);
  }

  void examine(const Image& image, World world, const std::string& what) {
    require(image.write_to(directory_), "an image");
    StoreTarget target(directory_, is_encrypted_);
    report_.add(check_store(target, world), where(what));
    report_.count("crash_images");
    report_.progress(message(report_.counter("crash_images"), " images"));
  }

  /// The catalog is a cache of the packs: without it nothing is lost.
  void without_catalog(Image image, const World& world) {
    std::erase_if(image.files, [](const auto& file) { return file.first.starts_with("catalog"); });
    examine(image, world, "without its catalog");
    report_.count("crash_images_without_catalog");
  }

  /// The catalog or its log is damaged besides, and the machine dies while it is put aside.
  void crash_while_rebuilding(Image image, const World& world) {
    auto found = image.files.find("catalog.sqlite-wal");
    if (found == image.files.end() || found->second.empty() || random_.integer(0, 2) == 0) {
      found = image.files.find("catalog.sqlite");
    }
    if (found == image.files.end() || found->second.empty()) return;
    std::vector<std::byte>& bytes = found->second;
    // Of the log its header: in the newest transaction damage is not told from a torn write.
    const std::size_t n_byte = found->first.ends_with("-wal") ? 32 : bytes.size();
    bytes[random_.next() % std::min(n_byte, bytes.size())] ^=
        static_cast<std::byte>(1U << random_.integer(0, 7));
    crash_again(Medium(image), world, "damage, then ");
  }

  /// The machine dies again while the store recovers, and later, when it has. `medium` keeps what
  /// was pending when the process was killed.
  void crash_again(const Medium& medium, World world, const std::string& what) {
    require(medium.killed().write_to(directory_), "an image");
    FileTap& tap = FileTap::instance();
    tap.start(directory_, medium.names(), medium.next_file());
    World recovered = world;
    {
      StoreTarget target(directory_, is_encrypted_);
      const Result<> opened = target.open();
      const Verdict verdict =
          opened ? check_target(target, recovered) : broken("open", opened.error());
      report_.add(verdict, where(what + "recovery"));
      tap.mark(1);
    }
    const Journal journal = tap.stop();
    Medium later = medium;
    bool is_recovered = false;
    for (const Event& event : journal) {
      later.apply(event);
      if (event.kind == EventKind::mark) is_recovered = true;
      if (random_.integer(0, 15) != 0 && event.kind != EventKind::mark) continue;
      // Once it was served, it stays.
      const World& expected = is_recovered ? recovered : world;
      std::vector<Choice> choices = Choices(later, random_).all();
      const Choice& choice = choices[random_.next() % choices.size()];
      examine(later.image(choice), expected, what + "again");
      report_.count("crash_images_in_recovery");
    }
  }

  const TortureOptions& options_;
  Report& report_;
  std::uint64_t program_seed_;
  bool is_encrypted_;
  test::Random random_;
  std::filesystem::path directory_;
  std::size_t moment_ = 0;
};

}  // namespace

void run_crash(const TortureOptions& options, Report& report) {
  const std::uint64_t n_image = options.choose(options.n_image, 500, 20'000);
  const std::uint64_t n_image_each = options.is_short ? 60 : 400;
  for (std::uint64_t i = 0; report.counter("crash_images") < n_image; ++i) {
    const std::uint64_t seed = options.seed * 1'000'003 + i;
    const Program program = program_of(i);
    const Recording recording = record_program(options.scratch / "program", seed, program);
    const std::vector<bool> is_examined =
        program.is_long ? near_checkpoints(recording.journal) : std::vector<bool>();
    Examiner(options, report, seed, program.is_encrypted).run(recording, is_examined, n_image_each);
    report.count("crash_programs");
    report.count("crash_programs_encrypted", program.is_encrypted ? 1 : 0);
    report.count("crash_programs_compacting", recording.moved_bytes > 0 ? 1 : 0);
    report.count("crash_programs_evicting", recording.n_eviction > 0 ? 1 : 0);
    report.count("crash_system_calls", recording.journal.size());
  }
}

}  // namespace kvault::torture
