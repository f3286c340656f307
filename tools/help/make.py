#!/usr/bin/env python3
"""Writes completions and manual pages from the programs' --help, so that they cannot go stale.

    make.py --kvault PROGRAM --kvaultd PROGRAM [--check]

--check writes nothing: exit status 1 where a subcommand or a long option does not occur in one of
the files. (Not where another CLI11 words its help otherwise.)
"""
import argparse
import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import completions  # noqa: E402
import man_pages  # noqa: E402
import program_help  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent


def missing_words(program, path, text):
    """Options and subcommands that do not occur in a file, whatever its syntax."""
    plain = re.sub(r"\\f[BIR]", "", text.replace("\\-", "-"))
    words = []
    for command in [program, *program.commands]:
        words += [name for option in command.options for name in option.names
                  if name.startswith("--")]
    if path.endswith(".fish"):
        words = ["-l " + word[2:] for word in words]
    words += [command.name.split()[-1] for command in program.commands]
    return sorted({word for word in words
                   if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", plain)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kvault", required=True)
    parser.add_argument("--kvaultd", required=True)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    faults = []
    for name, path in (("kvault", arguments.kvault), ("kvaultd", arguments.kvaultd)):
        program = program_help.read_program(path, name)
        written = completions.files([program]) | man_pages.files([program])
        for target, text in written.items():
            if not arguments.check:
                (ROOT / target).write_text(text, encoding="utf-8")
            missing = missing_words(program, target, (ROOT / target).read_text(encoding="utf-8"))
            if missing:
                faults.append(f"{target} lacks {', '.join(missing)}: run tools/help/make.py")
    print("\n".join(faults), file=sys.stderr, end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
