#pragma once

#include <CLI/CLI.hpp>

/// The subcommands of `kvault`, one file each. add_X_command adds one to `app`; where the user
/// chose it, it runs while the command line is parsed and leaves its exit code in `exit_code`:
/// 0 done, 1 done and the answer is bad (--check failed, damage found), 2 not done (one line on
/// stderr says why, with the numbers).
namespace kvault::tools {

void add_attend_command(CLI::App& app, int& exit_code);
void add_roundtrip_command(CLI::App& app, int& exit_code);
void add_sessions_command(CLI::App& app, int& exit_code);
void add_show_command(CLI::App& app, int& exit_code);
void add_remove_command(CLI::App& app, int& exit_code);
void add_fork_command(CLI::App& app, int& exit_code);
void add_export_command(CLI::App& app, int& exit_code);
void add_import_command(CLI::App& app, int& exit_code);
void add_set_command(CLI::App& app, int& exit_code);
void add_verify_command(CLI::App& app, int& exit_code);
void add_stats_command(CLI::App& app, int& exit_code);
void add_top_command(CLI::App& app, int& exit_code);
void add_namespaces_command(CLI::App& app, int& exit_code);
void add_devices_command(CLI::App& app, int& exit_code);

}  // namespace kvault::tools
