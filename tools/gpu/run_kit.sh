#!/usr/bin/env bash
# Checks and measures the CUDA backend on this machine's GPU. Made by tools/gpu/make_kit.sh.
#
#   run_kit.sh <folder for the results> [check|sanitize|measure ...; default: all of them]
#
# check     the conformance suite against the oracle, its cases of equal bits 100 times
# sanitize  memcheck and racecheck over the suite's shortest cases
# measure   kvault-bench --report, times of single kernels, and bf16 attention of PyTorch in turn
#
# Each step leaves a log; what fails does not stop the next one. The last line counts failures.
set -uo pipefail

kit="$(cd "$(dirname "$0")" && pwd)"
out="${1:?a folder for the results}"
shift
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(check sanitize measure)
mkdir -p "$out"
export LD_LIBRARY_PATH="$kit/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# Other backends are measured elsewhere.
export VK_DRIVER_FILES=/nonexistent
n_failed=0

# step <name> <command...>
step() {
  local name="$1"
  shift
  local begin=$SECONDS
  if "$@" >"$out/$name.log" 2>&1; then
    echo "$name: passed in $((SECONDS - begin)) s"
  else
    echo "$name: FAILED in $((SECONDS - begin)) s"
    tail -n 5 "$out/$name.log"
    n_failed=$((n_failed + 1))
  fi
}

# A build without a GPU skips every device but the cpu: that is no pass.
conformance() {
  "$kit/bin/kvault_conformance_tests" "$@" | tee "$out/conformance.txt"
  local status=${PIPESTATUS[0]}
  ! grep -q "skipped device cuda" "$out/conformance.txt" && return "$status"
}

repeat_determinism() {
  for _ in $(seq 100); do
    "$kit/bin/kvault_conformance_tests" --test-case='attend: bits do not depend*' || return 1
  done
}

kernel_times() {
  export KVAULT_CUDA_TIMES=1
  for shape in "--n-token 131072" "--n-token 32768" "--n-token 32768 --op prefill --n-q 2048" \
    "--n-token 32768 --op encode"; do
    for preset in k4v4 k3v3 k2v2 k8v8; do
      echo "== $shape $preset"
      # shellcheck disable=SC2086
      "$kit/bin/kvault-bench" --device cuda $shape --preset "$preset" --set-bytes 512MiB || return 1
    done
  done
}

{
  echo "commit $(cat "$kit/commit")"
  date -u +%F
  nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,clocks.max.mem --format=csv
} >"$out/machine.txt" 2>&1

for name in "${steps[@]}"; do
  case "$name" in
    check)
      step conformance conformance
      step determinism repeat_determinism
      ;;
    sanitize)
      for tool in memcheck racecheck; do
        step "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
          "$kit/bin/kvault_conformance_tests" \
          --test-case='attend: every format*,attend: few rows*,*every scheme, side*'
      done
      ;;
    measure)
      step bf16 python3 "$kit/bf16_attention.py" --json "$out/bf16.json"
      step kernel_times kernel_times
      step report "$kit/bin/kvault-bench" --device cuda --report "$out" \
        --note "commit $(cat "$kit/commit")"
      ;;
    *)
      echo "no step $name; there are check, sanitize and measure"
      n_failed=$((n_failed + 1))
      ;;
  esac
done
echo "$n_failed steps failed"
exit $((n_failed > 0))
