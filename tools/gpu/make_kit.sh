#!/usr/bin/env bash
# Gathers what a machine with a GPU needs to check and measure the GPU backends without building
# anything: stripped test and benchmark programs, the libraries they want, run_kit.sh.
#
#   tools/gpu/make_kit.sh [build folder, default build/dev] [kit folder, default build/gpu-kit]
#
# Copy the kit there and start it: gpu-kit/run_kit.sh <folder for the results>
set -euo pipefail

root="$(cd "$(dirname "$0")/../.." && pwd)"
build="${1:-$root/build/dev}"
kit="${2:-$root/build/gpu-kit}"

programs=(tests/kvault_conformance_tests tools/kvault-bench)
rm -rf "$kit"
mkdir -p "$kit/bin" "$kit/lib"
for program in "${programs[@]}"; do
  strip -o "$kit/bin/$(basename "$program")" "$build/$program"
  # The C library is the machine's own.
  ldd "$build/$program" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' |
    grep -vE '/(libc|libm|libdl|libpthread|librt|libcuda)\.so' | sort -u |
    while read -r library; do cp -Lu "$library" "$kit/lib/"; done
done
# Headless machines have the driver without the loader and without the file that names it.
loader="$(ldconfig -p | awk '/libvulkan\.so\.1 .*x86-64/ {print $NF; exit}')"
[ -z "$loader" ] || cp -Lu "$loader" "$kit/lib/"
cat >"$kit/nvidia_icd.json" <<'EOF'
{"file_format_version": "1.0.0",
 "ICD": {"library_path": "libGLX_nvidia.so.0", "api_version": "1.3.0"}}
EOF
cp "$root/tools/gpu/run_kit.sh" "$root/tools/gpu/bf16_attention.py" \
  "$root/tools/gpu/side_by_side.py" "$root/gpu_cuda/kernels/statistics.txt" "$kit/"
git -C "$root" rev-parse --short HEAD >"$kit/commit"
du -sh "$kit" | cut -f1
