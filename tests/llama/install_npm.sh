#!/usr/bin/env bash
# install_npm.sh PACKAGE_FOLDER TARGET: installs a package.json into TARGET by its lock's versions
# and hashes, once. (npm ci wants entries of the optional packages of every platform in the lock.)
# Ends well whatever happens: the tests look for what they need, and say when it is not there.
set -uo pipefail
source=$1 target=$2
stamp=$target/.installed-$(cksum < "$source/package-lock.json" | cut -d ' ' -f 1)
[ ! -e "$stamp" ] || exit 0
if ! command -v npm > /dev/null; then
  echo "[skip] npm is not installed"
  exit 0
fi
mkdir -p "$target"
cp "$source/package.json" "$source/package-lock.json" "$target"
cd "$target"
if timeout 240 npm install --ignore-scripts --omit=optional --no-save --no-audit --no-fund \
  --loglevel=error; then
  touch "$stamp"
else
  echo "[skip] the npm registry cannot be reached, or not for this processor"
fi
