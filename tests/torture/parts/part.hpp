#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "tests/torture/report.hpp"

namespace kvault::torture {

/// What the command line asks for; 0 leaves a number to the form, short or long.
struct TortureOptions {
  bool is_short = false;
  std::uint64_t seed = 1;
  std::uint64_t n_image = 0;
  std::uint64_t n_kill = 0;
  std::uint64_t n_step = 0;
  std::uint64_t n_input = 0;
  double minutes = 1;
  std::uint32_t n_client = 16;
  std::filesystem::path scratch;  ///< a directory of our own, in memory where there is one

  std::uint64_t choose(std::uint64_t asked, std::uint64_t in_short, std::uint64_t in_long) const {
    return asked != 0 ? asked : is_short ? in_short : in_long;
  }
};

void run_crash(const TortureOptions& options, Report& report);
void run_kill(const TortureOptions& options, Report& report);
void run_fault(const TortureOptions& options, Report& report);
void run_flip(const TortureOptions& options, Report& report);
void run_quota(const TortureOptions& options, Report& report);
void run_simulate(const TortureOptions& options, Report& report);
void run_fuzz(const TortureOptions& options, Report& report);
void run_soak(const TortureOptions& options, Report& report);

/// A part of the torture; parts that are not run by default must be asked for.
struct Part {
  std::string_view name;
  void (*run)(const TortureOptions&, Report&);
  bool is_default = true;
};
std::span<const Part> parts();

}  // namespace kvault::torture
