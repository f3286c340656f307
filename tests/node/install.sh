#!/usr/bin/env bash
# install.sh SOURCE TARGET LLAMA_NPM: the package sdk/node as TARGET/node_modules/kvault with what
# its lock names, the node-llama-cpp of the tests beside it, and the tests and the example.
# Ends well whatever happens: run.sh looks for what it needs, and says when it is not there.
set -uo pipefail
source=$1 target=$2 llama=$3
package=$target/node_modules/kvault
stamp=$package/.installed-$(cksum < "$source/sdk/node/package-lock.json" | cut -d ' ' -f 1)
mkdir -p "$package"
cp -r "$source/sdk/node/." "$package"
cp "$source"/tests/node/*.js "$source"/tests/node/*.ts "$target"
echo '{"private": true, "type": "module"}' > "$target/package.json"
mkdir -p "$target/chat-node"
cp "$source"/examples/chat-node/* "$target/chat-node"
ln -sfn "$llama/node_modules/node-llama-cpp" "$target/node_modules/node-llama-cpp"
[ ! -e "$stamp" ] || exit 0
if ! command -v npm > /dev/null; then
  echo "[skip] npm is not installed"
elif (cd "$package" && timeout 100 npm ci --ignore-scripts --omit=peer --no-audit --no-fund \
  --loglevel=error); then
  touch "$stamp"
else
  echo "[skip] the npm registry cannot be reached"
fi
