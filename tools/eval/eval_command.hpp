#pragma once

#include <CLI/CLI.hpp>

namespace kvault::tools {

/// `kvault eval`: what a scheme costs on a real model; tools/cli/commands.hpp says how commands
/// behave.
void add_eval_command(CLI::App& app, int& exit_code);

}  // namespace kvault::tools
