#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/torture/model/world.hpp"

namespace kvault::torture {

/// What was run and what was found. Counters by name, as they stand in the JSON.
class Report {
 public:
  Report(std::uint64_t seed, bool is_chatty);

  void count(const std::string& counter, std::uint64_t n = 1) { counters_[counter] += n; }
  std::uint64_t counter(const std::string& counter) const;
  /// Keeps the first sentences, prints them, counts all.
  void lost(const std::string& sentence);
  void wrong(const std::string& sentence);
  /// `where`: what replays it.
  void add(const Verdict& verdict, const std::string& where);
  /// Something worth knowing that is neither.
  void note(const std::string& sentence);

  void begin_part(std::string_view name);
  void end_part();
  /// One line that is written over, where stderr is a terminal.
  void progress(const std::string& text);

  bool is_clean() const { return counter("lost") == 0 && counter("wrong") == 0; }
  std::string json() const;
  /// Lines for people.
  std::string text() const;

 private:
  using Clock = std::chrono::steady_clock;
  void complain(std::string_view kind, const std::string& sentence);
  void print_line(const std::string& line);

  std::uint64_t seed_;
  bool shows_progress_;
  std::map<std::string, std::uint64_t> counters_;
  std::map<std::string, double> seconds_;
  std::vector<std::string> notes_;
  std::vector<std::string> complaints_;
  std::string part_;
  Clock::time_point part_began_;
  Clock::time_point last_progress_;
};

}  // namespace kvault::torture
