#include "tests/torture/report.hpp"

#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/base/result.hpp"

namespace kvault::torture {
namespace {

constexpr std::size_t kSentencesMax = 40;
constexpr std::chrono::milliseconds kProgressEvery{200};

}  // namespace

Report::Report(std::uint64_t seed, bool is_chatty)
    : seed_(seed), shows_progress_(is_chatty && ::isatty(2) == 1) {
  for (const char* name : {"crash_images", "kills", "faults", "bit_flips", "lost", "wrong"}) {
    counters_[name] = 0;
  }
}

std::uint64_t Report::counter(const std::string& counter) const {
  const auto found = counters_.find(counter);
  return found == counters_.end() ? 0 : found->second;
}

void Report::print_line(const std::string& line) {
  std::fprintf(stderr, "%s%s\n", shows_progress_ ? "\r\x1b[K" : "", line.c_str());
}

void Report::complain(std::string_view kind, const std::string& sentence) {
  if (complaints_.size() >= kSentencesMax) return;
  complaints_.push_back(message(kind, ": ", sentence));
  print_line(message("kvault-torture: ", part_, ": ", complaints_.back()));
}

void Report::lost(const std::string& sentence) {
  count("lost");
  complain("lost", sentence);
}

void Report::wrong(const std::string& sentence) {
  count("wrong");
  complain("wrong", sentence);
}

void Report::add(const Verdict& verdict, const std::string& where) {
  if (verdict.is_clean()) return;
  count("lost", verdict.n_lost);
  count("wrong", verdict.n_wrong);
  for (const std::string& sentence : verdict.sentences) {
    complain(verdict.n_wrong > 0 ? "wrong" : "lost", message(where, ": ", sentence));
  }
}

void Report::note(const std::string& sentence) {
  if (notes_.size() < kSentencesMax) notes_.push_back(message(part_, ": ", sentence));
}

void Report::begin_part(std::string_view name) {
  part_ = name;
  part_began_ = last_progress_ = Clock::now();
}

void Report::end_part() {
  seconds_[part_] = std::chrono::duration<double>(Clock::now() - part_began_).count();
  if (shows_progress_) std::fprintf(stderr, "\r\x1b[K");
}

void Report::progress(const std::string& text) {
  if (!shows_progress_ || Clock::now() - last_progress_ < kProgressEvery) return;
  last_progress_ = Clock::now();
  std::fprintf(stderr, "\r\x1b[K%s: %s", part_.c_str(), text.c_str());
  std::fflush(stderr);
}

std::string Report::json() const {
  nlohmann::ordered_json object;
  for (const auto& [name, value] : counters_) object[name] = value;
  object["seed"] = seed_;
  double total = 0;
  for (const auto& [part, seconds] : seconds_) {
    object["part_seconds"][part] = seconds;
    total += seconds;
  }
  object["seconds"] = total;
  object["notes"] = notes_;
  object["complaints"] = complaints_;
  // Names of damaged sessions are whatever bytes they are.
  return object.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string Report::text() const {
  std::string text;
  for (const auto& [name, value] : counters_) text += message(name, " ", value, "\n");
  for (const auto& [part, seconds] : seconds_) {
    char line[96];
    std::snprintf(line, sizeof line, "%s took %.1f s\n", part.c_str(), seconds);
    text += line;
  }
  for (const std::string& note : notes_) text += message("note: ", note, "\n");
  return text + message("seed ", seed_, "\n");
}

}  // namespace kvault::torture
