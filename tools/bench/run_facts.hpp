#pragma once

#include <string>

namespace kvault::tools {

/// What figures are worthless without.
struct RunFacts {
  std::string date;  ///< "2026-11-21", UTC
  std::string version;
  std::string commit;     ///< of the checkout it was run in; empty: in none
  std::string processor;  ///< "Intel(R) Xeon(R), 2 threads"
  std::string command;
  std::string note;  ///< of whoever ran it

  static RunFacts collect(std::string command, std::string note);
};

/// The words of a command line as a shell takes them, the program without its folder.
std::string command_of(int argc, const char* const* argv);

}  // namespace kvault::tools
