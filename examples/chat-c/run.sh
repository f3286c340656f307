#!/usr/bin/env bash
# run.sh BUILD_DIRECTORY NPM_DIRECTORY MODEL: builds the example against the prebuilt llama.cpp of
# an npm package and its own header, then chats, quits, and resumes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$1 npm=$2 model=$3
skip() { echo "[skip] $*"; exit 77; }
libraries=$npm/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
bundle=$npm/node_modules/node-llama-cpp/llama/gitRelease.bundle
[ -e "$libraries/libllama.v0.5.0.so" ] || skip "no prebuilt llama.cpp"
[ -e "$bundle" ] || skip "no source of llama.cpp, which has llama.h"
[ -e "$model" ] || skip "no model at $model"
[ -e "$npm/llama.cpp/include/llama.h" ] || git clone -q "$bundle" "$npm/llama.cpp" 2> /dev/null

directory=$(mktemp -d)
# The kvaultd that the example starts is known by its directory, which is nobody else's.
trap 'pkill -f "$directory/data" || true; rm -rf "$directory"' EXIT
${CC:-cc} -std=c11 -Wall -Wextra -Werror -o "$directory/chat" "$here/chat.c" \
  -I"$here/../../sdk/include" -I"$here/../../sdk/adapters/llama/include" -I"$build/include" \
  -isystem "$npm/llama.cpp/include" -isystem "$npm/llama.cpp/ggml/include" \
  -L"$build/sdk" -lkvault -L"$libraries" -l:libllama.v0.5.0.so -l:libggml.v0.5.0.so \
  -l:libggml-base.so -Wl,-rpath,"$build/sdk:$libraries" -Wl,-rpath-link,"$libraries"
export KVAULT_RUNTIME_DIR="$directory/run" GGML_BACKEND_PATH="$libraries/libggml-cpu-x64.so"
chat() { "$directory/chat" "$model" monday "$build/daemon/kvaultd" "$directory/data" < /dev/stdin; }

first=$(printf 'Once upon a time\nOne day\n\n' | chat)
second=$(printf 'Then\n\n' | chat)
whole=$(printf 'Once upon a time\nOne day\nThen\n\n' |
  "$directory/chat" "$model" tuesday "$build/daemon/kvaultd" "$directory/data")
printf '%s\n--- quit, and started again ---\n%s\n' "$first" "$second"
grep -q '^\[saved ' <<< "$first"
grep -q '^\[resumed ' <<< "$second"
# The first turn of a context that goes on in a story tells what one that never stopped tells.
told=$(grep -v '^\[' <<< "$second")
[ "$told" = "$(grep -v '^\[' <<< "$whole" | tail -n "$(wc -l <<< "$told")")" ]
