#!/usr/bin/env python3
"""Counts what is in the compiled shaders and holds it against gpu_vulkan/shaders/statistics.txt.

shader_statistics.py <folder of .spv files> [--update]

What drivers compile grows with a shader: some take seconds for a thousand instructions more. A
change of more than a tenth fails until the table says so too. The counts are glslang's, before any
constant is specialised and any loop unrolled; those of another glslang are not compared (77).
"""
import argparse
import struct
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = ROOT / "gpu_vulkan" / "shaders" / "statistics.txt"
COLUMNS = ("instructions", "branches", "loads", "stores", "barriers")
TOLERANCE = 0.1
MAGIC, GENERATOR_AT, HEADER_WORDS = 0x07230203, 2, 5
SKIPPED = 77
# Opcodes of the SPIR-V specification, section 3.42.
OPCODES = {250: "branches", 251: "branches", 61: "loads", 62: "stores", 224: "barriers"}
FUNCTION, FUNCTION_END = 54, 56


def read_words(path):
    data = path.read_bytes()
    words = struct.unpack(f"<{len(data) // 4}I", data)
    if len(words) < HEADER_WORDS or words[0] != MAGIC:
        sys.exit(f"{path} is no SPIR-V")
    return words


def count(path):
    words = read_words(path)
    counts, at, in_function = Counter(), HEADER_WORDS, False
    while at < len(words):
        opcode, length = words[at] & 0xFFFF, words[at] >> 16
        if length == 0:
            sys.exit(f"{path}: an instruction of no words at word {at}")
        in_function = (in_function or opcode == FUNCTION) and opcode != FUNCTION_END
        counts["instructions"] += in_function
        counts[OPCODES.get(opcode, "others")] += 1
        at += length
    return tuple(counts[column] for column in COLUMNS)


def read_table():
    rows = {}
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            name, *numbers = line.split()
            rows[name] = tuple(int(number) for number in numbers)
    return rows


def write_table(rows, generator):
    lines = ["# Counts of the compiled shaders; tests/tidy/shader_statistics.py says how and why.",
             "#", f"generator {generator}",
             f"{'# shader':<16}" + "".join(f"{column:>13}" for column in COLUMNS)]
    for name, numbers in sorted(rows.items()):
        lines.append(f"{name:<16}" + "".join(f"{number:>13}" for number in numbers))
    TABLE.write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--update", action="store_true", help="write the table")
    options = parser.parse_args()
    paths = sorted(options.folder.glob("*.spv"))
    if not paths:
        sys.exit(f"no shader in {options.folder}")
    generator = read_words(paths[0])[GENERATOR_AT]
    found = {path.stem: count(path) for path in paths}
    if options.update:
        write_table(found, generator)
        return
    known, bad = read_table(), 0
    if known.pop("generator") != (generator,):
        print(f"[skip] the table's counts are of another glslang than {generator:#x}")
        sys.exit(SKIPPED)
    for name in sorted(found.keys() | known.keys()):
        if name not in known or name not in found:
            print(f"{name}: in {'the table' if name in known else 'the build'} alone")
            bad += 1
            continue
        for column, now, before in zip(COLUMNS, found[name], known[name]):
            if abs(now - before) > max(TOLERANCE * before, 2):
                print(f"{name}: {now} {column}, and not {before}")
                bad += 1
        print(f"{name}: " + ", ".join(f"{n} {c}" for n, c in zip(found[name], COLUMNS)))
    if bad:
        print(f"{bad} differences; --update writes {TABLE.relative_to(ROOT)}")
    sys.exit(1 if bad else 0)


main()
