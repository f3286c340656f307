#pragma once

#include <CLI/CLI.hpp>

namespace kvault::tools {

/// `kvault run`: how good a preset is, on a real model or on the built-in one.
void add_run_command(CLI::App& app, int& exit_code);

}  // namespace kvault::tools
