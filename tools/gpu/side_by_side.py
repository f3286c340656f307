#!/usr/bin/env python3
"""Writes what was predicted of the CUDA kernels beside what was measured, at the end of the page
that kvault-bench --report has left, and as JSON beside it.

side_by_side.py RESULTS [--statistics FILE]

RESULTS is the folder of run_kit.sh, with machine.txt, bf16.json, kernel_times.log, upload.json and
the page cuda-*.md. A prediction takes nothing from the kernels' times: the bytes they move, at the
speed of plain reading, and the instructions that statistics.txt counts, at the greatest clock.
"""
import argparse
import json
import re
import sys
from pathlib import Path

HEAD_DIM, N_HEAD, N_KV_HEAD, PAGE = 128, 32, 8, 128
PRESETS = {"k8v8": (8, "q8"), "k4v4": (4, "tq4"), "k3v3": (3, "tq3"), "k2v2": (2, "tq2")}
SCHEDULERS, LANES = 4, 32
# What kernels are expected to reach of plain reading, and of the schedulers' slots.
OF_READING, OF_SLOTS = 0.80, 0.73
# Instructions an element: what a page adds to a decode, what a block's tables add to an encode.
PAGE_INSTRUCTIONS, BLOCK_INSTRUCTIONS = 0.4, 2
TITLE = "## Predicted and measured"


class Machine:
    def __init__(self, folder):
        self.bf16 = json.loads((folder / "bf16.json").read_text())
        clock = re.search(r"(\d+) MHz", (folder / "machine.txt").read_text())
        if clock is None:
            sys.exit(f"{folder / 'machine.txt'} names no clock")
        self.issue_per_us = self.bf16["n_multiprocessor"] * SCHEDULERS * int(clock.group(1))
        self.read_gb_per_s = self.bf16["read_gb_per_s"]

    def bytes_us(self, size):
        return size / self.read_gb_per_s / 1e3

    def issue_us(self, instructions):
        return instructions / LANES / self.issue_per_us

    def bf16_us(self, list_name, **shape):
        """The fastest of the backends; None where none could."""
        times = [row["us"] for row in self.bf16[list_name]
                 if "us" in row and all(row[key] == value for key, value in shape.items())]
        return min(times, default=None)


def read_statistics(path):
    """{(kernel, figure): value} of sm_90."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return {(line[0], line[2]): float(line[3]) for line in lines
            if len(line) == 4 and line[1] == "sm_90"}


def read_kernel_times(path):
    """{(shape, preset): {kernel: {"median": us, "mean": us}}}"""
    times, kernels = {}, {}
    for line in path.read_text().splitlines():
        if line.startswith("== "):
            *shape, preset = line[3:].split()
            kernels = times.setdefault((" ".join(shape), preset), {})
        found = re.match(r"cuda kernel kvault_(\w+): .*median ([\d.]+) us.*mean ([\d.]+) us", line)
        if found:
            kernels[found[1]] = {"median": float(found[2]), "mean": float(found[3])}
    return times


def block_bytes(bits, is_centred):
    return PAGE * HEAD_DIM * bits // 8 + 2 * PAGE + (2 * HEAD_DIM if is_centred else 0)


def stored_bytes(bits, n_token):
    """Of K, centred, and V of all kv heads."""
    return n_token // PAGE * N_KV_HEAD * (block_bytes(bits, True) + block_bytes(bits, False))


def row_of(name, machine, size, instructions, measured):
    memory_us, issue_us = machine.bytes_us(size), machine.issue_us(instructions)
    return {"what": name, "bytes_us": memory_us, "instructions_us": issue_us,
            "predicted_us": max(memory_us / OF_READING, issue_us / OF_SLOTS),
            "measured_us": measured}


def time_of(times, shape, preset, kernel, kind="median"):
    return times.get((shape, preset), {}).get(kernel, {}).get(kind)


def decode_row(machine, statistics, times, n_token, n_sequence, preset):
    bits, scheme = PRESETS[preset]
    kernel = "tensor_128_128_narrow"
    shape = f"--n-token {n_token}" + (f" --n-sequence {n_sequence}" if n_sequence > 1 else "")
    each = statistics["kvault_" + kernel, scheme + "_instructions_per_element"] + PAGE_INSTRUCTIONS
    elements = 2 * n_sequence * n_token * N_KV_HEAD * HEAD_DIM
    row = row_of(f"decode, {n_sequence} x {n_token}, {preset}", machine,
                 n_sequence * stored_bytes(bits, n_token), elements * each,
                 time_of(times, shape, preset, kernel))
    parts = [time_of(times, shape, preset, name) for name in ("prepare", kernel, "combine")]
    row["all_kernels_us"] = None if None in parts else sum(parts)
    return row


def prefill_row(machine, statistics, times, preset):
    bits, scheme = PRESETS[preset]
    n_token, n_q, kernel = 32768, 2048, "prefill_128_128"
    each = statistics["kvault_" + kernel, scheme + "_instructions_per_element_and_row"]
    seen = n_token - n_q / 2  # by a query, on average
    pairs = 2 * seen * N_KV_HEAD * HEAD_DIM * n_q * (N_HEAD // N_KV_HEAD)
    return row_of(f"prefill of {n_q} in {n_token}, {preset}", machine,
                  stored_bytes(bits, n_token), pairs * each,
                  time_of(times, f"--n-token {n_token} --op prefill --n-q {n_q}", preset, kernel))


def encode_row(machine, statistics, times, preset):
    bits, scheme = PRESETS[preset]
    n_token, kernel = 32768, "encode_128"
    elements = n_token * N_KV_HEAD * HEAD_DIM
    each = sum(statistics["kvault_" + kernel, f"{scheme}_instructions_per_{side}_element"]
               + BLOCK_INSTRUCTIONS for side in ("key", "value"))
    launch = time_of(times, f"--n-token {n_token} --op encode", preset, kernel, "mean")
    # A launch of all keys, and one of all values.
    return row_of(f"encode of {n_token}, K and V, {preset}", machine,
                  4 * elements + stored_bytes(bits, n_token), elements * each,
                  None if launch is None else 2 * launch)


def all_rows(machine, statistics, times):
    rows = {}
    for preset in PRESETS:
        for n_token, n_sequence in ((131072, 1), (32768, 1), (32768, 8)):
            rows["decode", n_token, n_sequence, preset] = decode_row(
                machine, statistics, times, n_token, n_sequence, preset)
        rows["prefill", preset] = prefill_row(machine, statistics, times, preset)
        rows["encode", preset] = encode_row(machine, statistics, times, preset)
    return rows


def ratio(over, under):
    return over / under if over and under else None


def upload_share(folder, machine):
    """Of the speed of a copy from pinned memory: k4v4, bytes that were in the host's caches."""
    rows = json.loads((folder / "upload.json").read_text())
    rates = [row["stored_gb_per_s"] for row in rows if row["preset"] == "k4v4"]
    return ratio(rates[0] if rates else None, machine.bf16["upload_gb_per_s"])


def all_goals(folder, machine, rows):
    def of_reading(n_token, n_sequence):
        row = rows["decode", n_token, n_sequence, "k4v4"]
        return ratio(row["bytes_us"], row["measured_us"])

    def against_bf16(n_token):
        return ratio(machine.bf16_us("decode_us", n_token=n_token, n_sequence=1),
                     rows["decode", n_token, 1, "k4v4"]["all_kernels_us"])

    long_k4v4, long_k3v3 = (rows["decode", 131072, 1, name] for name in ("k4v4", "k3v3"))
    prefill_bf16 = machine.bf16_us("prefill_us", n_token=32768, n_q=2048)
    return [
        ("decode of 131072, k4v4: of plain reading", ">=", 0.75, of_reading(131072, 1)),
        ("decode of 8 x 32768, k4v4: of plain reading", ">=", 0.80, of_reading(32768, 8)),
        ("decode of 131072, k4v4: times faster than bf16", ">=", 2.8, against_bf16(131072)),
        ("decode of 32768, k4v4: times faster than bf16", ">=", 2.0, against_bf16(32768)),
        ("decode of 131072, k3v3: times faster than k4v4", ">=", 1.15,
         ratio(long_k4v4["measured_us"], long_k3v3["measured_us"])),
        ("prefill of 2048 in 32768, k4v4: times as long as bf16", "<=", 2.0,
         ratio(rows["prefill", "k4v4"]["measured_us"], prefill_bf16)),
        ("encode of 32768, k4v4: of plain reading", ">=", 0.45,
         ratio(rows["encode", "k4v4"]["bytes_us"], rows["encode", "k4v4"]["measured_us"])),
        ("encode of 32768, k4v4: us (on an H200)", "<=", 90.0,
         rows["encode", "k4v4"]["measured_us"]),
        ("upload of a layer, k4v4: of copies from pinned memory", ">=", 0.70,
         upload_share(folder, machine)),
    ]


def text_of(value, form="{:.1f}"):
    return "-" if value is None else form.format(value)


def table(head, lines):
    return "\n".join(["| " + " | ".join(line) + " |"
                      for line in [head, ["---"] * len(head), *lines]]) + "\n"


def page_of(machine, rows, goals):
    times = [[row["what"], *(text_of(row[key]) for key in ("bytes_us", "instructions_us",
                                                           "predicted_us", "measured_us")),
              text_of(ratio(row["measured_us"], row["predicted_us"]), "{:.2f}")]
             for row in rows]
    reached = [[name, f"{sign} {aim:g}", text_of(value, "{:.2f}"),
                "-" if value is None else
                "yes" if (value >= aim if sign == ">=" else value <= aim) else "no"]
               for name, sign, aim, value in goals]
    return f"""{TITLE}

Times of single kernels in us, medians on the device's own clock (of an encode the mean). *Bytes*:
what a kernel moves, at the {machine.read_gb_per_s:g} GB/s of plain reading; *instructions*: what
`gpu_cuda/kernels/statistics.txt` counts, if no slot of a scheduler stays empty. Predicted is the
greater of {OF_READING:.0%} of the one and {OF_SLOTS:.0%} of the other.

""" + table(["", "bytes", "instructions", "predicted", "measured", "of predicted"], times) + """
""" + table(["goal", "aim", "measured", "reached"], reached)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="RESULTS")
    parser.add_argument("--statistics", type=Path, default=Path(__file__).resolve().parents[2]
                        / "gpu_cuda" / "kernels" / "statistics.txt")
    options = parser.parse_args()
    machine = Machine(options.folder)
    rows = all_rows(machine, read_statistics(options.statistics),
                    read_kernel_times(options.folder / "kernel_times.log"))
    goals = all_goals(options.folder, machine, rows)
    text = page_of(machine, rows.values(), goals)
    pages = sorted(options.folder.glob("cuda-*.md"))
    for page in pages:
        before = page.read_text().split(TITLE)[0].rstrip()
        page.write_text(f"{before}\n\n{text}")
        figures = {"rows": list(rows.values()),
                   "goals": [dict(zip(("what", "sign", "aim", "measured"), goal))
                             for goal in goals]}
        page.with_suffix("").mkdir(exist_ok=True)
        (page.with_suffix("") / "predicted.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(text)
    if not pages:
        sys.exit(f"{options.folder} holds no page cuda-*.md: only printed")


if __name__ == "__main__":
    main()
