#!/usr/bin/env bash
# run.sh FOLDER TEST: one test file under node --test, or one that the compiler is to accept.
set -euo pipefail
folder=$1 test=$2
skip() { echo "[skip] $*"; exit 77; }
command -v node > /dev/null || skip "node is not installed"
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || skip "node is older than 20"
ls "$folder"/node_modules/kvault/.installed-* > /dev/null 2>&1 ||
  skip "koffi is not installed: no npm, or no registry"
[ -e "$folder/node_modules/node-llama-cpp/package.json" ] || skip "node-llama-cpp is not installed"
cd "$folder"
case $test in
*.ts)
  exec node node_modules/kvault/node_modules/typescript/bin/tsc --noEmit --strict --skipLibCheck \
    --target es2022 --module nodenext "$test"
  ;;
*) exec node --test "$test" ;;
esac
