"""Manual pages from what the programs say: files(programs) -> {path: text}."""

NOTE = "Written by tools/help/make.py from what --help says; change that, not this."
SEE_ALSO = {"kvault": "kvaultd", "kvaultd": "kvault"}
FILES = {
    "kvaultd": [
        ("~/.local/share/kvault",
         "The sessions, unless $KVAULT_DATA_DIR or $XDG_DATA_HOME says otherwise. Mode 0700."),
        ("$XDG_RUNTIME_DIR/kvault/kvaultd.sock", "The socket. Mode 0600."),
        ("kvaultd.socket, kvaultd.service",
         "systemd units for a user: systemctl --user enable --now kvaultd.socket"),
    ],
    "kvault": [],
}
ENVIRONMENT = [
    ("KVAULT_DATA_DIR", "Where sessions are kept."),
    ("KVAULT_RUNTIME_DIR", "Where the socket lies."),
    ("KVAULTD", "The kvaultd that a client starts where none runs."),
    ("KVAULT_QUOTA", "As kvaultd --quota."),
]


def roff(text):
    """Text as roff shows it verbatim."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").split("\n")
    return "\n".join("\\&" + line if line.startswith(".") else line for line in lines)


def option_lines(options):
    lines = []
    for option in options:
        names = ", ".join(f"\\fB{roff(name)}\\fR" for name in option.names)
        value = f" \\fI{roff(option.value)}\\fR" if option.value else ""
        lines += [".TP", names + value, roff(option.text)]
        if option.choices:
            lines[-1] += ": " + roff(", ".join(option.choices))
    return lines


def pairs(entries):
    lines = []
    for name, text in entries:
        lines += [".TP", f"\\fB{roff(name)}\\fR", roff(text)]
    return lines


def footer_lines(footer):
    return [".PP", ".nf", roff(footer), ".fi"] if footer else []


def command_lines(command):
    lines = [f'.SS "{roff(command.name)}"', roff(command.summary) + ".", ".PP",
             f"\\fB{roff(command.usage)}\\fR"]
    lines += pairs(command.positionals) + option_lines(command.options)
    return lines + footer_lines(command.footer)


def page(program):
    name, _, summary = program.summary.partition(": ")
    if not summary:
        name, _, summary = program.summary.partition(" ")
    lines = [f'.\\" {NOTE}', f'.TH {program.name.upper()} 1 "" "kvault"', ".SH NAME",
             f"{program.name} \\- {roff(summary.rstrip('.'))}", ".SH SYNOPSIS",
             f"\\fB{roff(program.usage)}\\fR", ".SH OPTIONS", *option_lines(program.options)]
    if program.commands:
        lines.append(".SH COMMANDS")
        for command in program.commands:
            lines += command_lines(command)
    lines += [".SH NOTES", *footer_lines(program.footer)[1:]]
    lines += [".SH ENVIRONMENT", *pairs(ENVIRONMENT)]
    if FILES[program.name]:
        lines += [".SH FILES", *pairs(FILES[program.name])]
    lines += [".SH SEE ALSO", f".BR {SEE_ALSO[program.name]} (1)", ""]
    return "\n".join(lines)


def files(programs):
    return {f"docs/man/{program.name}.1": page(program) for program in programs}
