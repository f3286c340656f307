#!/usr/bin/env python3
"""Reads CUDA kernels' machine code and holds it against gpu_cuda/kernels/statistics.txt.

kernel_statistics.py --nvcc NVCC [--architectures 90,80] [--update]

Of every kernel the registers and the bytes that are spilled, as ptxas says them; of attention over
coded pages the instructions of the loop over tiles of 32 tokens, for every element of keys and
values, and where many rows are taken at once those of the loop over pages, for every element and
row. They are counted in builds where all pages have one scheme, no row is masked and no reference
rises. Of encoding those of the loops over tokens, for every element of centred keys and of values
that are not centred. More than the table says fails; so does less than nine tenths, until the table
says so too. Other compilers are not compared (77).
"""
import argparse
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
KERNELS = ROOT / "gpu_cuda" / "kernels"
TABLE = KERNELS / "statistics.txt"
SCHEMES = {"q8": 16, "tq4": 17, "tq3": 18, "tq2": 19}
TILE_TOKENS, WARP_THREADS = 32, 32
SKIPPED = 77
PAGE_TOKENS, PREFILL_ROWS = 128, 64
# An instruction has 16 bytes; its lowest 12 bits say which.
BYTES, BRA, IMMA, HMMA, SHFL = 16, 0x947, 0x237, 0x23C, 0xF89
# A half becomes a float; two floats become one.
HADD2, FADD = 0x230, 0x221
CENTRED, CHUNK = 128, 16


def compile_kernels(nvcc, source, architecture, defines=()):
    """The cubin of a file, and what ptxas says of it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kernels.cubin"
        command = [nvcc, "-std=c++20", f"-arch=sm_{architecture}", "--expt-relaxed-constexpr",
                   "-Xptxas", "-v", f"-I{ROOT}", *(f"-D{name}" for name in defines), "-cubin",
                   "-o", str(target), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{source.name} for sm_{architecture}:\n{done.stderr}")
        return target.read_bytes(), done.stderr


def registers_and_spills(report):
    """{kernel: (registers, spilled bytes)}"""
    pattern = re.compile(r"Function properties for (\w+)\n.*?(\d+) bytes spill stores, (\d+) bytes"
                         r" spill loads\n.*?Used (\d+) registers", re.S)
    return {name: (int(registers), int(stores) + int(loads))
            for name, stores, loads, registers in pattern.findall(report)}


def code_sections(cubin):
    """(kernel, its instructions as pairs of words) of an ELF file."""
    start, = struct.unpack_from("<Q", cubin, 0x28)
    count, names_at = struct.unpack_from("<HH", cubin, 0x3C)
    headers = [struct.unpack_from("<IIQQQQ", cubin, start + 64 * i) for i in range(count)]
    names = headers[names_at][4]
    for name, _, _, _, offset, size in headers:
        end = cubin.index(b"\0", names + name)
        text = cubin[names + name:end].decode()
        if text.startswith(".text."):
            yield text[6:], [struct.unpack_from("<QQ", cubin, offset + BYTES * i)
                             for i in range(size // BYTES)]


def branch_target(index, low, high):
    """Offsets are signed, in units of 4 bytes: bits 16 to 23, then from bit 34 on."""
    upper = (low >> 34) | ((high & 0x3FFFF) << 30)
    if upper >> 47:
        upper -= 1 << 48
    return index + 1 + (upper * 256 + ((low >> 16) & 0xFF)) * 4 // BYTES


def loops_of(instructions):
    """The loops, innermost first where they share an end, each a list of opcodes."""
    opcodes = [low & 0xFFF for low, _ in instructions]
    for index, (low, high) in enumerate(instructions):
        if opcodes[index] == BRA:
            target = branch_target(index, low, high)
            if target <= index:
                yield opcodes[target:index + 1]


def tile_loop(instructions):
    """The length of the first loop with a tensor instruction in it: the one over tiles."""
    return min(len(loop) for loop in loops_of(instructions) if IMMA in loop)


def page_instructions(instructions):
    """What a lane does for a page: the loop over pages, in which the one over tiles of rows has the
    products of bytes, the one over tiles of tokens those of halves, and the one over a warp's own
    tiles of rows the products with a mean."""
    loops = sorted(loops_of(instructions), key=len)
    page = next(loop for loop in loops if IMMA in loop and HMMA in loop)
    rows = next(loop for loop in loops if IMMA in loop and HMMA not in loop)
    tokens = next(loop for loop in loops if HMMA in loop and IMMA not in loop)
    mean = next(loop for loop in loops if SHFL in loop and IMMA not in loop)
    n_tile, n_warp = PREFILL_ROWS // 8, 4
    more = (n_tile - 1) * len(rows) + (PAGE_TOKENS // TILE_TOKENS - 1) * len(tokens)
    return len(page) + more + (n_tile // n_warp - 1) * len(mean)


def row_instructions(instructions):
    """What a lane does for its 16 elements of a row: the loops in which so many halves become
    floats, one to turn and quantise them, one for their energy and, for a mean, one for sums."""
    loops = [loop for loop in loops_of(instructions) if loop.count(HADD2) == CHUNK]
    turns = [len(loop) for loop in loops if loop.count(FADD) >= 6 * CHUNK]
    energies = [len(loop) for loop in loops if loop.count(FADD) < 6 * CHUNK and SHFL in loop]
    sums = [len(loop) for loop in loops if SHFL not in loop]
    return min(turns) + min(energies) + min(sums, default=0)


def measure_encode(nvcc, architecture):
    rows = {}
    for scheme, number in SCHEMES.items():
        for side, values, form in (("key", 0, number | CENTRED), ("value", 1, number)):
            cubin, _ = compile_kernels(nvcc, KERNELS / "encode.cu", architecture,
                                       [f"KVAULT_COUNTED_FORMAT={form}",
                                        f"KVAULT_COUNTED_VALUES={values}"])
            for kernel, instructions in code_sections(cubin):
                key = f"{kernel} sm_{architecture} {scheme}_instructions_per_{side}_element"
                rows[key] = round(row_instructions(instructions) / CHUNK, 1)
    return rows


def measure(nvcc, architecture):
    rows = {}
    for source in sorted(KERNELS.glob("*.cu")):
        _, report = compile_kernels(nvcc, source, architecture)
        for kernel, (registers, spilled) in registers_and_spills(report).items():
            rows[f"{kernel} sm_{architecture} registers"] = registers
            rows[f"{kernel} sm_{architecture} spilled_bytes"] = spilled
    for scheme, number in SCHEMES.items():
        cubin, _ = compile_kernels(nvcc, KERNELS / "attend_tensor.cu", architecture,
                                   [f"KVAULT_COUNTED_SCHEME={number}"])
        for kernel, instructions in code_sections(cubin):
            head_dim = int(kernel.split("_")[2])
            elements = 2 * TILE_TOKENS * head_dim // WARP_THREADS
            key = f"{kernel} sm_{architecture} {scheme}_instructions_per_element"
            rows[key] = round(tile_loop(instructions) / elements, 2)
        cubin, _ = compile_kernels(nvcc, KERNELS / "attend_prefill.cu", architecture,
                                   [f"KVAULT_COUNTED_SCHEME={number}"])
        for kernel, instructions in code_sections(cubin):
            head_dim = int(kernel.split("_")[2])
            elements = 2 * PAGE_TOKENS * head_dim * PREFILL_ROWS // (4 * WARP_THREADS)
            key = f"{kernel} sm_{architecture} {scheme}_instructions_per_element_and_row"
            rows[key] = round(page_instructions(instructions) / elements, 3)
    rows.update(measure_encode(nvcc, architecture))
    return rows


def read_table():
    rows = {}
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            *key, value = line.split()
            rows[" ".join(key)] = value
    return rows


def write_table(rows, release):
    lines = ["# What the kernels cost; tests/tidy/kernel_statistics.py says how it is counted.",
             "#",
             f"nvcc release {release}"]
    lines += [f"{key} {value}" for key, value in sorted(rows.items())]
    TABLE.write_text("\n".join(lines) + "\n")


def nvcc_release(nvcc):
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"V(\d+\.\d+\.\d+)", text).group(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nvcc", required=True)
    parser.add_argument("--architectures", default="90")
    parser.add_argument("--update", action="store_true", help="write the table anew")
    options = parser.parse_args()
    release = nvcc_release(options.nvcc)
    known = {} if options.update else read_table()
    if not options.update and known.pop("nvcc release") != release:
        print(f"[skip] the table is of another nvcc than {release}")
        sys.exit(SKIPPED)
    rows = {}
    for architecture in options.architectures.split(","):
        rows |= measure(options.nvcc, architecture)
    if options.update:
        write_table(rows, release)
        return
    failures = []
    for key, value in rows.items():
        if key not in known:
            failures.append(f"{key}: {value}, which the table does not know")
        elif not 0.9 * float(known[key]) <= value <= float(known[key]):
            failures.append(f"{key}: {value}; the table says {known[key]}")
    print("\n".join(failures) or f"{len(rows)} numbers as in {TABLE.name}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
