#!/usr/bin/env bash
# Checks and measures the GPU backends on this machine's GPU. Made by tools/gpu/make_kit.sh.
#
#   run_kit.sh <folder for the results> [check|sanitize|measure|vulkan ...; default: all of them]
#
# check     the conformance suite against the oracle, its cases of equal bits 100 times
# sanitize  memcheck and racecheck over the suite's shortest cases
# measure   kvault-bench --report, times of single kernels, bf16 attention of PyTorch, and what was
#           predicted of it all beside it, at the end of the report's page
# vulkan    the conformance suite and kvault-bench --report of the Vulkan backend
#
# The Vulkan driver is that of VK_DRIVER_FILES; without it NVIDIA's, by the machine's own file or
# the kit's.
#
# Each step leaves a log; what fails does not stop the next one. The last line counts failures.
set -uo pipefail

kit="$(cd "$(dirname "$0")" && pwd)"
out="${1:?a folder for the results}"
shift
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(check sanitize measure vulkan)
mkdir -p "$out"
export LD_LIBRARY_PATH="$kit/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
vulkan_driver="${VK_DRIVER_FILES:-$(find /usr/share/vulkan /etc/vulkan -name '*nvidia*icd*.json' \
  2>/dev/null | head -n 1)}"
vulkan_driver="${vulkan_driver:-$kit/nvidia_icd.json}"
# A backend is measured without the others.
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

# conformance <device>: a machine without it skips it, which is no pass.
conformance() {
  "$kit/bin/kvault_conformance_tests" | tee "$out/conformance-$1.txt"
  local status=${PIPESTATUS[0]}
  ! grep -q "skipped device $1" "$out/conformance-$1.txt" && return "$status"
}

# only_vulkan <command...>
only_vulkan() {
  CUDA_VISIBLE_DEVICES="" VK_DRIVER_FILES="$vulkan_driver" "$@"
}

repeat_determinism() {
  for _ in $(seq 100); do
    "$kit/bin/kvault_conformance_tests" --test-case='attend: bits do not depend*' || return 1
  done
}

kernel_times() {
  export KVAULT_CUDA_TIMES=1
  for shape in "--n-token 131072" "--n-token 32768" "--n-token 32768 --n-sequence 8" \
    "--n-token 32768 --op prefill --n-q 2048" "--n-token 32768 --op encode"; do
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
      step conformance conformance cuda
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
      step upload "$kit/bin/kvault-bench" --device cuda --op upload --n-token 32768 \
        --set-bytes 512MiB --json "$out/upload.json"
      step report "$kit/bin/kvault-bench" --device cuda --report "$out" \
        --note "commit $(cat "$kit/commit")"
      step side_by_side python3 "$kit/side_by_side.py" "$out" --statistics "$kit/statistics.txt"
      ;;
    vulkan)
      step vulkan_conformance only_vulkan conformance vulkan
      step vulkan_report only_vulkan "$kit/bin/kvault-bench" --device vulkan --report "$out" \
        --note "commit $(cat "$kit/commit")"
      ;;
    *)
      echo "no step $name; there are check, sanitize, measure and vulkan"
      n_failed=$((n_failed + 1))
      ;;
  esac
done
echo "$n_failed steps failed"
exit $((n_failed > 0))
