#!/usr/bin/env python3
"""House rules as checks: tidy.py <check>. Exit status 0: kept, 1: broken, 77: cannot run here.

includes   who includes whom (include_rules.txt)
length     no file above 800 lines; above 500 is reported
functions  no function above 70 lines but those in long_functions.txt
columns    100 columns, no tabs, no blanks at the end of a line
words      no word of banned_words.txt
headers    every public header compiles alone, the C header as C99
exports    the shared library exports kvault_* and nothing else
"""
import argparse
import re
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import functions  # noqa: E402  (the neighbour that finds functions)

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FILE_LINES_MAX, FILE_LINES_REPORTED = 800, 500
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
SKIPPED = 77

CODE = {".c", ".cc", ".cpp", ".h", ".hpp", ".inc", ".cu", ".cuh", ".comp", ".glsl", ".fbs"}
SCRIPTS = {".py", ".cmake", ".sh"}
SCRIPT_NAMES = {"CMakeLists.txt", "dev", "run"}
BINARY = {".bin", ".pack", ".png", ".gz", ".npy", ".spv"}

STD = set("""
algorithm any array atomic barrier bit bitset cassert cctype cerrno cfenv cfloat charconv chrono
cinttypes climits clocale cmath codecvt compare complex concepts condition_variable coroutine
csetjmp csignal cstdarg cstddef cstdint cstdio cstdlib cstring ctime cuchar cwchar cwctype deque
exception execution expected filesystem format forward_list fstream functional future
initializer_list iomanip ios iosfwd iostream istream iterator latch limits list locale map memory
memory_resource mutex new numbers numeric optional ostream queue random ranges ratio regex
scoped_allocator semaphore set shared_mutex source_location span sstream stack stdexcept stop_token
streambuf string string_view strstream syncstream system_error thread tuple type_traits typeindex
typeinfo unordered_map unordered_set utility valarray variant vector version
assert.h complex.h ctype.h errno.h fenv.h float.h inttypes.h iso646.h limits.h locale.h math.h
setjmp.h signal.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h
stdnoreturn.h string.h tgmath.h threads.h time.h uchar.h wchar.h wctype.h
""".split())


def tracked_files():
    """Every file of the repository, new ones included, as paths relative to its root."""
    command = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
    answer = subprocess.run(command, capture_output=True, check=False)
    if answer.returncode == 0:
        names = [name for name in answer.stdout.decode().split("\0") if name]
    else:  # an unpacked archive
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
        names = [name for name in names if not name.startswith(("build/", ".git/"))]
    return sorted(name for name in set(names) if (ROOT / name).is_file())


def code_files():
    return [name for name in tracked_files() if Path(name).suffix in CODE]


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def table_lines(name):
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


# --- includes ------------------------------------------------------------------------------------

def read_include_rules():
    rules, groups = {}, {}
    for line in table_lines("include_rules.txt"):
        if re.match(r"^\w+\s*=", line):
            name, patterns = line.split("=", 1)
            groups[name.strip()] = patterns.split()
        else:
            folder, inside, outside = (part.strip() for part in line.split(":"))
            rules[folder] = (inside.split(), outside.split())
    return rules, groups


def covers(entry, path):
    """Whether a table entry, a folder, file or prefix*, contains the path."""
    if entry.endswith("*"):
        return path.startswith(entry[:-1])
    return path == entry or path.startswith(entry + "/")


def rule_of(path, rules):
    matching = [folder for folder in rules if covers(folder, path)]
    return max(matching, key=len) if matching else None


def own_folder(path, folder):
    """The folder a file may always include: for gpu_* the backend's own, never a sibling's."""
    return path.split("/", 1)[0] if folder.endswith("*") else folder


# Where public headers lie.
PUBLIC_FOLDERS = ("sdk/include", "sdk/adapters/llama/include")


def resolve(path, header):
    """The repository path that a quoted or kvault/ header names, or None."""
    near = (Path(path).parent / header).as_posix()
    for candidate in (header, *(f"{folder}/{header}" for folder in PUBLIC_FOLDERS), near):
        if (ROOT / candidate).is_file():
            return candidate
    return None


def include_fault(path, opening, header, rules, groups):
    folder = rule_of(path, rules)
    if folder is None:
        return "include_rules.txt says nothing about this folder"
    inside, outside = rules[folder]
    if header in ("errors.inc", "kvault/errors.inc") and folder.startswith(("sdk", "tests")):
        return None  # core/base/errors.inc, beside kvault.h once installed
    if opening == "<" and not header.startswith("kvault/"):
        if outside == ["*"] or header in STD:
            return None
        for group in outside:
            if any(re.fullmatch(pattern, header) for pattern in groups.get(group, [])):
                return None
        return f"{folder} may not include <{header}> (allowed: {' '.join(outside)})"
    target = resolve(path, header)
    if target is None:
        if any(covers(entry, header) for entry in inside):  # generated
            return None
        return f'"{header}" is neither a file here nor a generated header of {folder}'
    if covers(own_folder(path, folder), target):
        return None
    if any(covers(entry, target) for entry in inside):
        return None
    return f"{folder} may not include {target} (allowed: {' '.join(inside) or 'nothing'})"


def check_includes(_):
    rules, groups = read_include_rules()
    faults = []
    for path in code_files():
        if Path(path).suffix == ".fbs":
            continue
        for number, line in enumerate(text_of(path).splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if found:
                fault = include_fault(path, found[1], found[2], rules, groups)
                if fault:
                    faults.append(f"{path}:{number}: {fault}")
    return faults


# --- sizes ---------------------------------------------------------------------------------------

def check_length(_):
    faults = []
    for path in tracked_files():
        if Path(path).suffix not in CODE | SCRIPTS:
            continue
        lines = len(text_of(path).splitlines())
        if lines > FILE_LINES_MAX:
            faults.append(f"{path}: {lines} lines; the wall is {FILE_LINES_MAX}")
        elif lines > FILE_LINES_REPORTED:
            print(f"report: {path}: {lines} lines; a file holds one noun, most need 150")
    return faults


def check_functions(_):
    allowed = {}
    for line in table_lines("long_functions.txt"):
        path, name, lines = line.split()
        allowed[(path, name)] = int(lines)
    faults, seen = [], set()
    for path in tracked_files():
        suffix = Path(path).suffix
        if suffix not in CODE - {".fbs"} and suffix != ".py":
            continue
        for name, first, lines in functions.find(text_of(path), suffix):
            if lines <= FUNCTION_LINES_MAX:
                continue
            limit = allowed.get((path, name), FUNCTION_LINES_MAX)
            seen.add((path, name))
            if lines > limit:
                faults.append(f"{path}:{first}: {name} has {lines} lines; its wall is {limit}")
    for path, name in sorted(set(allowed) - seen):
        faults.append(f"long_functions.txt: {path} {name} is short now or gone; delete the entry")
    return faults


def check_columns(_):
    faults = []
    for path in tracked_files():
        if Path(path).suffix not in CODE | SCRIPTS and Path(path).name not in SCRIPT_NAMES:
            continue
        for number, line in enumerate(text_of(path).split("\n"), 1):
            if len(line) > COLUMNS_MAX:
                faults.append(f"{path}:{number}: {len(line)} columns; the wall is {COLUMNS_MAX}")
            if "\t" in line:
                faults.append(f"{path}:{number}: a tab")
            if line.rstrip() != line:
                faults.append(f"{path}:{number}: blanks at the end of the line")
    return faults


def check_words(_):
    banned = re.compile("|".join(f"(?:{line.strip()})" for line in table_lines("banned_words.txt")))
    faults = []
    for path in tracked_files():
        if Path(path).suffix in BINARY:
            continue
        try:
            text = text_of(path)
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            found = banned.search(line)
            if found:
                faults.append(f"{path}:{number}: banned: {found[0]!r}")
    return faults


# --- what a user gets ----------------------------------------------------------------------------

def check_headers(options):
    folders = [ROOT / folder for folder in PUBLIC_FOLDERS]
    headers = sorted(path.relative_to(folder).as_posix() for folder in folders
                     for path in folder.glob("kvault/*.h*"))
    if not headers:
        print("[skip] no public headers yet")
        sys.exit(SKIPPED)
    warnings = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    faults = []
    for header in headers:
        runs = [[options.cxx, "-std=c++20", "-x", "c++"]]
        if header.endswith(".h"):
            runs.append([options.cc, "-std=c99", "-x", "c"])
        for run in runs:
            command = run + warnings + [*(f"-I{folder}" for folder in folders),
                                        f"-I{options.include}",
                                        f"-I{options.include}/kvault", "-"]
            source = f"#include <{header}>\n#include <{header}>\n"
            answer = subprocess.run(command, input=source, capture_output=True, text=True,
                                    check=False)
            if answer.returncode != 0:
                faults.append(f"{header} does not compile alone ({' '.join(run)}):\n"
                              f"{answer.stderr}")
    return faults


def check_exports(options):
    if not options.library:
        print("[skip] libkvault is not part of this build")
        sys.exit(SKIPPED)
    answer = subprocess.run(["nm", "-D", "--defined-only", options.library], capture_output=True,
                            text=True, check=True)
    names = [line.split()[-1].split("@")[0] for line in answer.stdout.splitlines()]
    if not names:
        return [f"{options.library} exports nothing"]
    print(f"{len(names)} exported symbols")
    return [f"exported: {name}" for name in names if not name.startswith("kvault_")]


def main():
    checks = {name[len("check_"):]: function for name, function in globals().items()
              if name.startswith("check_")}
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=checks)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--cxx", default="c++")
    parser.add_argument("--include", default=str(ROOT / "build/dev/include"))
    parser.add_argument("--library", default="")
    options = parser.parse_args()
    faults = checks[options.check](options)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
