#pragma once

#include <CLI/CLI.hpp>

namespace kvault::tools {

/// `kvault demo`: a chat is killed in the middle, comes back from disk and goes on bit for bit; and
/// its hidden helper `kvault demo-app`, the program that is killed.
void add_demo_command(CLI::App& app, int& exit_code);

}  // namespace kvault::tools
