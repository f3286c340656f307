#!/usr/bin/env python3
"""Tries tools/gpu/side_by_side.py: on what kvault-bench prints of kernels here, and on made-up
figures whose answers are known.

side_by_side_test.py KVAULT_BENCH
"""
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools" / "gpu"))
import side_by_side  # noqa: E402

STATISTICS = ROOT / "gpu_cuda" / "kernels" / "statistics.txt"
# A machine of one scheduler slot a us and lane: 250 multiprocessors of 4 at 1000 MHz.
BF16 = {"n_multiprocessor": 250, "read_gb_per_s": 4000.0, "upload_gb_per_s": 50.0,
        "decode_us": [{"n_token": 131072, "n_sequence": 1, "us": 300.0},
                      {"n_token": 131072, "n_sequence": 1, "us": 280.0},
                      {"n_token": 32768, "n_sequence": 1, "why_not": "no such kernel"}],
        "prefill_us": [{"n_token": 32768, "n_q": 2048, "us": 1500.0}]}
TIMES = """== --n-token 131072 k4v4
cuda kernel kvault_prepare: 30 launches, median 2.00 us, least 1.90 us, mean 2.10 us
cuda kernel kvault_tensor_128_128_narrow: 30 launches, median 50.00 us, least 49 us, mean 51.00 us
cuda kernel kvault_combine: 30 launches, median 4.00 us, least 3.90 us, mean 4.10 us
== --n-token 32768 --op encode k4v4
cuda kernel kvault_encode_128: 60 launches, median 30.00 us, least 25 us, mean 35.00 us
"""


def check(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: {found}, not {wanted}")


def check_near(what, found, wanted):
    if found is None or abs(found - wanted) > 1e-6 * abs(wanted):
        sys.exit(f"{what}: {found}, not {wanted}")


def try_real_output(bench, folder):
    """The names that kernels print are those that are looked for."""
    log = ""
    for words in ("--n-token 256", "--n-token 256 --op encode",
                  "--n-token 256 --op prefill --n-q 64"):
        command = [bench, "--device", "cuda", *words.split(), "--preset", "k4v4", "--n-head", "4",
                   "--n-kv-head", "1", "--set-bytes", "64KiB", "--repetitions", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              env=os.environ | {"KVAULT_CUDA_TIMES": "1"})
        check(" ".join(command), done.returncode, 0)
        log += f"== {words} k4v4\n{done.stderr}"
    path = folder / "real.log"
    path.write_text(log)
    times = side_by_side.read_kernel_times(path)
    for words, kernels in (("--n-token 256", {"prepare", "tensor_128_128_narrow", "combine"}),
                           ("--n-token 256 --op encode", {"encode_128"}),
                           ("--n-token 256 --op prefill --n-q 64", {"prefill_128_128"})):
        check(words, kernels - set(times[words, "k4v4"]), set())


def try_made_up_figures(folder):
    (folder / "bf16.json").write_text(json.dumps(BF16))
    (folder / "machine.txt").write_text("name, clocks.max.sm [MHz]\nSome GPU, 1000 MHz, 900 MHz\n")
    (folder / "kernel_times.log").write_text(TIMES)
    (folder / "upload.json").write_text(json.dumps([{"preset": "raw", "stored_gb_per_s": 1.0},
                                                    {"preset": "k4v4", "stored_gb_per_s": 40.0}]))
    page = folder / "cuda-some-gpu.md"
    page.write_text("# Some GPU\n\nFigures.\n")
    for _ in range(2):  # the second time replaces what the first has written
        done = subprocess.run([sys.executable, str(ROOT / "tools" / "gpu" / "side_by_side.py"),
                               str(folder), "--statistics", str(STATISTICS)],
                              capture_output=True, text=True, check=False)
        check("exit status: " + done.stderr, done.returncode, 0)
    text = page.read_text()
    check("titles", text.count(side_by_side.TITLE), 1)
    check("the page's beginning", text.startswith("# Some GPU\n\nFigures.\n\n## "), True)

    written = json.loads((folder / "cuda-some-gpu" / "predicted.json").read_text())
    rows = {row["what"]: row for row in written["rows"]}
    goals = {goal["what"]: goal["measured"] for goal in written["goals"]}
    decode = rows["decode, 1 x 131072, k4v4"]
    # 1024 pages of 8 heads, 8704 bytes of keys and 8448 of values: docs/format.md, section 2.
    check_near("bytes", decode["bytes_us"], 1024 * 8 * (8704 + 8448) / 4e6)
    counted = re.search(r"kvault_tensor_128_128_narrow sm_90 tq4_instructions_per_element (\S+)",
                        STATISTICS.read_text())
    elements = 2 * 131072 * 8 * 128
    check_near("instructions", decode["instructions_us"],
               elements * (float(counted[1]) + 0.4) / 32 / 1e6)
    check_near("all kernels", decode["all_kernels_us"], 56.0)
    check_near("of plain reading", goals["decode of 131072, k4v4: of plain reading"],
               decode["bytes_us"] / 50)
    check_near("against bf16", goals["decode of 131072, k4v4: times faster than bf16"], 280 / 56)
    check_near("encode", rows["encode of 32768, K and V, k4v4"]["measured_us"], 70.0)
    check_near("upload", goals["upload of a layer, k4v4: of copies from pinned memory"], 0.8)
    check("what nobody measured", goals["decode of 32768, k4v4: times faster than bf16"], None)
    check("rows that say yes", len(re.findall(r"\| yes \|", text)), 4)


def main():
    with tempfile.TemporaryDirectory() as folder:
        try_real_output(sys.argv[1], Path(folder))
        try_made_up_figures(Path(folder))


if __name__ == "__main__":
    main()
