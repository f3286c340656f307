#!/usr/bin/env bash
# Runs an example in a directory of its own, which goes when it ends. run_example.sh PROGRAM KVAULTD
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
KVAULT_RUNTIME_DIR="$directory/run" "$1" "$directory/data" "$2"
