"""What the programs say about themselves: read_program(path) -> Command, from their --help."""
import dataclasses
import re
import subprocess

SECTIONS = ("Positionals", "Options", "Subcommands")


@dataclasses.dataclass
class Option:
    names: list  # ["-h", "--help"]
    value: str  # "FILE", "" where it takes none
    choices: list
    text: str


@dataclasses.dataclass
class Command:
    name: str  # "kvault", "kvault attend"
    summary: str
    usage: str
    positionals: list  # (name, text)
    options: list
    commands: list
    footer: str


def run_help(words):
    command = words + ["--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def entries(lines):
    """(left column, text) of a section; a text may stand on the line below."""
    found = []
    for line in lines:
        entry = re.match(r"  (\S.*?)(?:\s{2,}(\S.*))?$", line)
        if line.startswith(" " * 20) and found:
            found[-1][1] = (found[-1][1] + " " + line.strip()).strip()
        elif entry:
            found.append([entry[1], entry[2] or ""])
    return [tuple(entry) for entry in found]


def option_of(left, text):
    words = left.split(" ", 1)
    value = words[1] if len(words) > 1 else ""
    value = re.sub(r"\(Env:\w+\)|REQUIRED|(Needs|Excludes):.*|\.\.\.", "", value).strip()
    choices = re.search(r"\{([^}]*)\}", value)
    choices = choices[1].split(",") if choices else []
    if not choices and "|" in value:
        choices = value.split("=", 1)[0].split("|")
    value = re.split(r"[:=\s|]", value.replace("[:WHICH]", "\0"), maxsplit=1)[0]
    if choices:
        value = "NAME"
    return Option(words[0].split(","), value.replace("\0", "[:WHICH]"), choices, text)


def parse(name, text):
    lines = text.splitlines()
    command = Command(name, lines[0], "", [], [], [], "")
    blocks, footer, section = {}, [], None
    for line in lines[1:]:
        if line.startswith("Usage: "):
            command.usage = line[len("Usage: "):]
        elif line.endswith(":") and line[:-1].title() in SECTIONS and not footer:
            section = line[:-1].title()
            blocks[section] = []
        elif section and line.strip():
            blocks[section].append(line)
        elif section:
            section = None
        elif footer or line.strip():
            footer.append(line)
    command.footer = "\n".join(footer).strip("\n")
    command.options = [option_of(*entry) for entry in entries(blocks.get("Options", []))]
    command.positionals = [(left.split(" ", 1)[0], text)
                           for left, text in entries(blocks.get("Positionals", []))]
    command.commands = [left for left, _ in entries(blocks.get("Subcommands", []))]
    return command


def read_program(path, name):
    """The program's Command, its subcommands as Commands of their own."""
    program = parse(name, run_help([path]))
    program.commands = [parse(f"{name} {word}", run_help([path, word]))
                        for word in program.commands]
    check(path, program)
    return program


def check(path, program):
    """Nothing that looks like an option or a subcommand was overlooked."""
    for command in [program, *program.commands]:
        words = command.name.split()[1:]
        text = run_help([path, *words])
        seen = set(re.findall(r"^ {2}(?:-\w,)?(--[a-z0-9-]+)", text, re.MULTILINE))
        known = {name for option in command.options for name in option.names
                 if name.startswith("--")}
        if seen - known:
            raise ValueError(f"{command.name}: --help names {sorted(seen - known)}; not understood")
