#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>

namespace kvault::tools {

/// Refuses what is not a whole number of `least` or more, by name. (CLI11 takes -1 for a large
/// unsigned number.)
inline CLI::Validator whole_number(unsigned least) {
  const auto check = [least](const std::string& text) -> std::string {
    const bool is_whole = !text.empty() && std::all_of(text.begin(), text.end(),
                                                       [](char c) { return c >= '0' && c <= '9'; });
    if (is_whole && (least == 0 || text.find_first_not_of('0') != std::string::npos)) return {};
    return "'" + text + "' is not a whole number of " + std::to_string(least) + " or more";
  };
  return CLI::Validator(check, "");
}

/// --device, of every command that opens one; `more` ends its sentence in the help.
inline CLI::Option* add_device_option(CLI::App& command, std::string& device,
                                      const std::string& more = "") {
  return command
      .add_option(
          "--device", device,
          "One of `kvault devices`; behind a colon its index, UUID or part of its name" + more)
      ->type_name("NAME[:WHICH]")
      ->capture_default_str();
}

}  // namespace kvault::tools
