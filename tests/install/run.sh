#!/usr/bin/env bash
# run.sh <find_package|pkg_config> <build folder> <scratch folder> <libdir> <why it cannot run>
set -euo pipefail
way=$1 build=$2 scratch=$3 libdir=$4 reason=$5
here=$(cd "$(dirname "$0")" && pwd)

if [ -n "$reason" ]; then
  echo "[skip] $reason"
  exit 77
fi

rm -rf "$scratch"
mkdir -p "$scratch"
cmake --install "$build" --prefix "$scratch/installed" > "$scratch/install.log"
mv "$scratch/installed" "$scratch/moved"  # what was installed must not know where it was
prefix=$scratch/moved

# All but systemd's unit, which has to.
if [ -e "$prefix/bin/kvaultd" ]; then
  grep -qx "ExecStart=$scratch/installed/bin/kvaultd .*" "$prefix/lib/systemd/user/kvaultd.service"
  ls "$prefix/lib/systemd/user/kvaultd.socket" "$prefix/share/man/man1/kvaultd.1" \
    "$prefix/share/bash-completion/completions/kvaultd"
fi

run() {
  local answer
  answer=$("$@")
  echo "$answer"
  case "$answer" in 'kvault '[0-9]*) ;; *) echo "unexpected answer"; exit 1 ;; esac
}

case "$way" in
  find_package)
    cmake -S "$here/consumer" -B "$scratch/build" -DCMAKE_PREFIX_PATH="$prefix"
    cmake --build "$scratch/build"
    run "$scratch/build/consumer"
    run "$scratch/build/consumer_static"
    ;;
  pkg_config)
    command -v pkg-config > /dev/null || { echo "[skip] no pkg-config"; exit 77; }
    export PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig
    flags=$(pkg-config --cflags --libs kvault)
    cc -std=c99 -pedantic -Werror "$here/consumer/consumer.c" $flags -o "$scratch/consumer"
    LD_LIBRARY_PATH=$prefix/$libdir run "$scratch/consumer"
    ;;
  *)
    echo "unknown way: $way"
    exit 1
    ;;
esac
