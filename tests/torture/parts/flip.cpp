#include <algorithm>
#include <map>
#include <set>

#include "core/os/file.hpp"
#include "tests/torture/disk/image_of.hpp"
#include "tests/torture/model/player.hpp"
#include "tests/torture/parts/check.hpp"
#include "tests/torture/parts/part.hpp"

/// Single bits of every file are turned over. In a pack, what is live must be found by verify() and
/// by whoever reads the record; in the catalog, its log and the key nothing may come of it that is
/// believed and wrong.
namespace kvault::torture {
namespace {

constexpr std::uint64_t kStepsMin = 14;

/// A store with some history: as it lies after an orderly end, and as a kill leaves it.
struct Patient {
  bool is_encrypted = false;
  Image closed;
  Image killed;
  World world;
  /// One change ago: damage in the newest transaction of SQLite's log cannot be told from a write
  /// that was cut short.
  World killed_world;
};

Patient make_patient(const std::filesystem::path& directory, std::uint64_t seed,
                     bool is_encrypted) {
  require(Image().write_to(directory), "an empty directory");
  StoreTarget target(directory, is_encrypted);
  Player player(target, seed);
  require(target.open(), "the first opening");
  std::uint64_t n_token = 0;
  while (player.n_step() < kStepsMin || n_token < 400) {
    require(player.step(), "a healthy store fails");
    n_token = 0;
    for (const std::string& name : player.world().names()) {
      n_token += player.world().find(name)->n_token();
    }
  }
  // One more opening that ends in a kill, so that its log holds transactions.
  require(target.reopen(), "reopen");
  const std::uint64_t n_before = player.n_step();
  World newest_change = player.world();
  player.on_change = [&](const World& world) {
    if (world.is_in_doubt()) newest_change = world;
  };
  while (player.n_step() < n_before + 6) {
    require(player.step(), "a healthy store fails");
  }
  Patient patient;
  patient.is_encrypted = is_encrypted;
  patient.killed_world = newest_change;
  patient.killed = image_of(directory);
  target.close();
  patient.closed = image_of(directory);
  patient.world = player.world();
  return patient;
}

/// "'a' is there and should not be"; or, where another has its name by now and it comes back as
/// `a (its id)`, "nobody made 'a (0123456789abcdef0123456789abcdef)'".
bool says_that_one_is_back(const std::string& sentence) {
  constexpr std::size_t kIdDigits = 32;
  if (sentence.ends_with("is there and should not be")) return true;
  return sentence.starts_with("nobody made '") && sentence.ends_with(")'") &&
         sentence.size() > kIdDigits + 4 &&
         sentence.substr(sentence.size() - kIdDigits - 4, 2) == " (";
}

void flip(std::vector<std::byte>& bytes, std::uint64_t bit) {
  bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
}

/// Bytes of packs that are part of some session's newest state.
class LiveBytes {
 public:
  LiveBytes(const std::vector<ServedSession>& served, const Image& image) {
    for (const ServedSession& session : served) {
      for (const ServedRecord& record : session.records) {
        add("packs/" + record.pack_path.filename().native(), record.offset_bytes,
            record.length_bytes);
      }
      add_commit(session, image);
    }
  }
  bool contains(const std::string& path, std::uint64_t at) const {
    if (at < kHeaderBytes) return ranges_.contains(path);
    const auto found = ranges_.find(path);
    if (found == ranges_.end()) return false;
    const auto next = found->second.upper_bound(at);
    return next != found->second.begin() && at < std::prev(next)->second;
  }

 private:
  static constexpr std::uint64_t kHeaderBytes = 4096;
  void add(const std::string& path, std::uint64_t begin, std::uint64_t length) {
    ranges_[path][begin] = begin + length;
  }
  /// Of the commits of one number, which state a session anew, the newest is the live one.
  void add_commit(const ServedSession& session, const Image& image) {
    std::string newest_path;
    std::uint64_t newest_at = 0;
    RecordHeader newest;
    for (const auto& [path, bytes] : image.files) {
      if (!path.starts_with("packs/log-")) continue;
      for (std::uint64_t at = kHeaderBytes; at < bytes.size(); at += 4096) {
        const Result<RecordHeader> header = parse_head(std::span(bytes).subspan(at));
        if (header && header->kind == RecordKind::commit && header->session == session.id &&
            header->commit_number == session.commit_number &&
            header->transaction > newest.transaction) {
          newest_path = path;
          newest_at = at;
          newest = *header;
        }
      }
    }
    if (!newest_path.empty()) add(newest_path, newest_at, newest.length_bytes);
  }
  std::map<std::string, std::map<std::uint64_t, std::uint64_t>> ranges_;
};

class Flipper {
 public:
  Flipper(const TortureOptions& options, Report& report, Patient patient)
      : report_(report),
        patient_(std::move(patient)),
        random_(options.seed * 31 + 7),
        directory_(options.scratch / "flipped") {}

  /// Flips bits of the packs below an open store: `n_bit` of every pack, and all of the smallest
  /// one of either kind where that is asked for.
  void flip_packs(std::uint64_t n_bit, bool takes_small_ones_whole) {
    require(patient_.closed.write_to(directory_), "an image");
    StoreTarget target(directory_, patient_.is_encrypted);
    require(target.open(), "open");
    const Result<std::vector<ServedSession>> served = target.served();
    if (!served) throw std::runtime_error(served.error().message);
    served_ = *served;
    const LiveBytes live(served_, patient_.closed);
    for (const auto& [path, bytes] : patient_.closed.files) {
      if (!path.starts_with("packs/")) continue;
      Result<File> file = File::open(directory_ / path);
      if (!file) continue;  // it held nothing live and is gone
      const std::uint64_t n_all = bytes.size() * 8;
      const bool is_whole = takes_small_ones_whole && is_smallest(path, live);
      for (std::uint64_t i = 0; i < (is_whole ? n_all : std::min(n_bit, n_all)); ++i) {
        const std::uint64_t bit = is_whole ? i : random_.next() % n_all;
        flip_below(target, *file, path, bit, live.contains(path, bit / 8));
      }
    }
  }

  /// Flips bits of one file of a store that is opened then.
  void flip_at_rest(const std::string& path, bool was_killed, std::uint64_t n_bit) {
    const Image& image = was_killed ? patient_.killed : patient_.closed;
    const auto found = image.files.find(path);
    if (found == image.files.end()) return;
    const std::uint64_t n_all = found->second.size() * 8;
    for (std::uint64_t i = 0; i < std::min(n_bit, n_all); ++i) {
      const std::uint64_t bit = n_bit < n_all ? random_.next() % n_all : i;
      Image flipped = image;
      flip(flipped.files[path], bit);
      require(flipped.write_to(directory_), "an image");
      const bool is_log = path.ends_with("-wal");
      open_flipped(message(path, was_killed ? " (killed)" : "", ", bit ", bit),
                   is_log ? patient_.killed_world : patient_.world);
    }
  }

  /// Of the files in a directory, which ends with a slash.
  std::vector<std::string> files_in(const std::string& directory) const {
    std::vector<std::string> paths;
    for (const auto& [path, bytes] : patient_.closed.files) {
      if (path.starts_with(directory)) paths.push_back(path);
    }
    return paths;
  }

 private:
  /// Of the packs of its kind that hold something live.
  bool is_smallest(const std::string& path, const LiveBytes& live) const {
    const std::string kind = path.substr(0, path.find('-'));
    const auto& files = patient_.closed.files;
    return live.contains(path, 0) &&
           std::all_of(files.begin(), files.end(), [&](const auto& other) {
             const bool counts = other.first.starts_with(kind) && live.contains(other.first, 0);
             return !counts || other.second.size() >= files.at(path).size();
           });
  }

  void flip_below(StoreTarget& target, File& file, const std::string& path, std::uint64_t bit,
                  bool is_live) {
    std::vector<std::byte> byte(1);
    require(file.pread_all(bit / 8, byte), "read");
    flip(byte, bit % 8);
    require(file.pwrite_all(bit / 8, byte), "write");
    const std::string where = message(path, ", bit ", bit);
    const Verdict verdict = patient_.world.check(served_);
    if (verdict.n_wrong > 0) report_.add(verdict, where);
    const Result<std::vector<std::string>> damage = target.verify();
    if (is_live && damage && damage->empty()) report_.wrong(where + ": verify does not see it");
    flip(byte, bit % 8);
    require(file.pwrite_all(bit / 8, byte), "write");
    report_.count("bit_flips");
    report_.count(is_live ? "bit_flips_live" : "bit_flips_dead");
    report_.progress(message(report_.counter("bit_flips"), " flips"));
  }

  void open_flipped(const std::string& where, World world) {
    report_.count("bit_flips");
    report_.progress(message(report_.counter("bit_flips"), " flips"));
    StoreTarget target(directory_, patient_.is_encrypted);
    const Result<> opened = target.open();
    if (!opened) {
      report_.count("bit_flips_refused");
      return report_.note(message(where, ": refused: ", opened.error().message));
    }
    if (target.store().open_report().is_catalog_rebuilt) report_.count("bit_flips_rebuilt");
    const Verdict verdict = check_target(target, world);
    if (verdict.is_clean()) {
      report_.count("bit_flips_harmless_or_healed");
      return go_on(target, world, where);
    }
    const bool is_said = !target.store().open_report().damage.empty();
    const Result<std::vector<std::string>> damage = target.verify();
    const bool is_found = is_said || !damage || !damage->empty();
    if (verdict.n_wrong == 0 && is_found) return report_.count("bit_flips_detected");
    report_.add(verdict, where);
  }

  /// What looks healthy must also work, now and then. It ends with a rebuild: where the flipped bit
  /// was in the record of a deletion, and the catalog that knew of it is gone as well, the session
  /// comes back, and the opening says that a record is damaged.
  void go_on(StoreTarget& target, World& world, const std::string& where) {
    if (random_.integer(0, 15) != 0) return;
    const Verdict verdict = check_store(target, world);
    const bool is_back = std::ranges::all_of(verdict.sentences, says_that_one_is_back);
    if (!verdict.is_clean() && is_back && !target.store().open_report().damage.empty()) {
      report_.note(message(where, ", in use: ", target.store().open_report().damage.front()));
      return report_.count("bit_flips_detected_in_use");
    }
    report_.add(verdict, where + ", in use");
  }

  Report& report_;
  Patient patient_;
  test::Random random_;
  std::filesystem::path directory_;
  std::vector<ServedSession> served_;
};

void flip_all(const TortureOptions& options, Report& report, bool is_encrypted) {
  const std::uint64_t seed = options.seed * 17 + (is_encrypted ? 1 : 0);
  Flipper flipper(options, report, make_patient(options.scratch / "patient", seed, is_encrypted));
  const bool is_short = options.is_short;
  flipper.flip_packs(is_short ? 100 : 5'000, !is_short);
  flipper.flip_at_rest("catalog.sqlite", false, is_short ? 150 : 20'000);
  flipper.flip_at_rest("catalog.sqlite", true, is_short ? 75 : 10'000);
  flipper.flip_at_rest("catalog.sqlite-wal", true, is_short ? 150 : 20'000);
  flipper.flip_at_rest("namespace.key", false, is_short ? 16 : 256);
  for (const std::string& key : flipper.files_in("keys/")) {
    flipper.flip_at_rest(key, false, is_short ? 10 : 2'000);
  }
  for (const std::string& pack : flipper.files_in("packs/")) {
    flipper.flip_at_rest(pack, false, is_short ? 5 : 300);
  }
}

}  // namespace

void run_flip(const TortureOptions& options, Report& report) {
  flip_all(options, report, false);
  flip_all(options, report, true);
}

}  // namespace kvault::torture
