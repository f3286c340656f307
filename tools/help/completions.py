"""Completion files from what the programs say: files(programs) -> {path: text}."""
import re

SESSIONS = {"show", "rm", "fork", "set", "verify", "export"}
FILES = {"export", "import"}
DIRECTORY_OPTIONS = {"--data-dir", "--model"}
FILE_OPTIONS = {"--socket", "--input", "--equalise"}
PRESETS = ["raw", "k8v8", "k8v4", "k4v4", "k4v3", "k3v3", "k3v2", "k2v2"]
CHOICES = {
    "--preset": PRESETS,
    "--raw-pages": ["sink,tail", "none"],
    "--side": ["key", "value"],
    "--scheme": ["raw", "q8", "tq4", "tq3", "tq2"],
    "--rule": ["unbiased", "matched", "least-squares", "plain"],
    "--row-type": ["f16", "f32"],
}
NOTE = "Written by tools/help/make.py from what --help says; change that, not this."

SESSION_NAMES = r"""kvault sessions --json --no-auto-start 2> /dev/null |
    sed -n 's/^ *"name": "\(.*\)",$/\1/p'"""
DEVICE_NAMES = r"""kvault devices --json 2> /dev/null |
    sed -n 's/^ *"device": "\(.*\)",*$/\1/p'"""


def long_name(option):
    return next(name for name in option.names if name.startswith("--"))


def choices_of(option):
    return option.choices or CHOICES.get(long_name(option), [])


def kind_of(option):
    """directory, file, device, choice, text, or empty where it takes no value."""
    name = long_name(option)
    if name in DIRECTORY_OPTIONS or option.value == "DIR":
        return "directory"
    if name in FILE_OPTIONS or option.value in ("FILE", "PATH"):
        return "file"
    if name == "--device":
        return "device"
    if choices_of(option):
        return "choice"
    return "text" if option.value else ""


def short(text):
    """A description without quotes, brackets and colons, which every shell reads otherwise."""
    return re.sub(r"[\[\]'\"`:\\$<>]", "", text.split(";")[0].split(" (default")[0])[:90].strip()


def word_of(command):
    return command.name.split()[-1]


def options_by_kind(program, kind):
    names = {long_name(option) for command in [program, *program.commands]
             for option in command.options if kind_of(option) == kind}
    return sorted(names)


# --- bash ----------------------------------------------------------------------------------------

def bash_values(program):
    """The cases of the word before the one at hand."""
    lines, seen = [], set()
    for command in [program, *program.commands]:
        for option in command.options:
            name = long_name(option)
            if kind_of(option) == "choice" and name not in seen:
                seen.add(name)
                lines.append(f'    {name}) words="{" ".join(choices_of(option))}" ;;')
    if options_by_kind(program, "device"):
        lines.append(f"    --device) words=$(_{program.name}_devices) ;;")
    for kind, flag in (("file", "-f"), ("directory", "-d")):
        for name in options_by_kind(program, kind):
            lines.append(f'    {name}) COMPREPLY=($(compgen {flag} -- "$current")); return ;;')
    for name in options_by_kind(program, "text"):
        lines.append(f"    {name}) return ;;")
    return lines


def bash_words(command):
    names = " ".join(long_name(option) for option in command.options)
    return f'words="{names}"'


def bash(program):
    name = program.name
    lines = [f"# Bash completion for {name}. {NOTE}", ""]
    if program.commands:
        lines += ["# A running daemon only: pressing Tab starts nothing.",
                  f"_{name}_sessions() {{", "  " + SESSION_NAMES, "}", "",
                  f"_{name}_devices() {{", "  " + DEVICE_NAMES, "}", ""]
    lines += [f"_{name}() {{",
              "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}",
              "  local words=", "  COMPREPLY=()", '  case "$previous" in',
              *bash_values(program), "  esac", '  if [ -n "$words" ]; then',
              '    COMPREPLY=($(compgen -W "$words" -- "$current"))', "    return", "  fi"]
    if program.commands:
        commands = " ".join(map(word_of, program.commands))
        lines += ['  if [ "$COMP_CWORD" = 1 ]; then',
                  f"    {bash_words(program)}",
                  f'    words="$words {commands}"', "  else",
                  '    case "${COMP_WORDS[1]}" in']
        lines += [f"      {word_of(command)}) {bash_words(command)} ;;"
                  for command in program.commands]
        sessions, files_too = " | ".join(sorted(SESSIONS)), " | ".join(sorted(FILES))
        lines += ["    esac", '    case "$current" in -*) ;; *)',
                  '      case "${COMP_WORDS[1]}" in',
                  f"        {sessions}) words=$(_{name}_sessions) ;;", "      esac",
                  '      case "${COMP_WORDS[1]}" in',
                  f'        {files_too}) COMPREPLY=($(compgen -f -- "$current")) ;;', "      esac",
                  "    esac", "  fi"]
    else:
        lines.append(f"  {bash_words(program)}")
    lines += ['  COMPREPLY+=($(compgen -W "$words" -- "$current"))', "}", "",
              f"complete -F _{name} {name}", ""]
    return "\n".join(lines)


# --- zsh -----------------------------------------------------------------------------------------

def zsh_option(option):
    action = {"file": "_files", "directory": "_files -/", "device": "_kvault_devices",
              "choice": "(" + " ".join(choices_of(option)) + ")", "text": " "}
    kind, name = kind_of(option), long_name(option)
    text = f"[{short(option.text)}]"
    if not kind:
        return f"'{name}{text}'"
    return f"'{name}={text}:value:{action[kind]}'"


def zsh_rest(command):
    actions = []
    if word_of(command) in SESSIONS:
        actions.append("_kvault_sessions")
    if word_of(command) in FILES:
        actions.append("_files")
    if not actions:
        return []
    if len(actions) == 1:
        return [f"'*:argument:{actions[0]}'"]
    return [f"'1:session:{actions[0]}'", f"'2:file:{actions[1]}'"]


def zsh_arguments(command, indent):
    items = [zsh_option(option) for option in command.options]
    if len(command.name.split()) > 1:
        items += zsh_rest(command)
    return (" \\\n" + indent + "  ").join([indent + "_arguments", *items])


def zsh_names(function, command):
    return [f"{function}() {{", "  local -a names", f'  names=("${{(@f)$({command})}}")',
            '  compadd -- "${names[@]}"', "}", ""]


def zsh(program):
    name = program.name
    lines = [f"#compdef {name}", f"# Zsh completion for {name}. {NOTE}", ""]
    if not program.commands:
        return "\n".join([*lines, zsh_arguments(program, ""), ""])
    lines += ["# A running daemon only: pressing Tab starts nothing.",
              *zsh_names("_kvault_sessions", SESSION_NAMES),
              *zsh_names("_kvault_devices", DEVICE_NAMES),
              f"_{name}() {{", "  local -a commands", "  commands=("]
    lines += [f"    '{word_of(command)}:{short(command.summary)}'" for command in program.commands]
    lines += ["  )", "  if (( CURRENT == 2 )); then", "    _describe command commands",
              zsh_arguments(program, "    "), "    return", "  fi", "  shift words",
              "  (( CURRENT-- ))", "  case $words[1] in"]
    for command in program.commands:
        lines += [f"    {word_of(command)})", zsh_arguments(command, "      "), "      ;;"]
    lines += ["  esac", "}", "", f'_{name} "$@"', ""]
    return "\n".join(lines)


# --- fish ----------------------------------------------------------------------------------------

def fish_option(name, condition, option):
    kind = kind_of(option)
    more = {"file": " -r -F", "directory": " -x -a '(__fish_complete_directories)'",
            "device": " -x -a '(__kvault_devices)'",
            "choice": f" -x -a '{' '.join(choices_of(option))}'", "text": " -x", "": ""}[kind]
    words = f"-l {long_name(option)[2:]}{more} -d '{short(option.text)}'"
    return f"complete -c {name}{condition} {words}"


def fish(program):
    name = program.name
    lines = [f"# Fish completion for {name}. {NOTE}", ""]
    if program.commands:
        lines += ["# A running daemon only: pressing Tab starts nothing.",
                  "function __kvault_sessions", "    " + SESSION_NAMES, "end", "",
                  "function __kvault_devices", "    " + DEVICE_NAMES, "end", ""]
    lines.append(f"complete -c {name} -f")
    condition = " -n __fish_use_subcommand" if program.commands else ""
    lines += [fish_option(name, condition, option) for option in program.options]
    lines += [f"complete -c {name}{condition} -a {word_of(command)} -d '{short(command.summary)}'"
              for command in program.commands]
    for command in program.commands:
        condition = f" -n '__fish_seen_subcommand_from {word_of(command)}'"
        lines += ["", *[fish_option(name, condition, option) for option in command.options]]
        if word_of(command) in SESSIONS:
            lines.append(f"complete -c {name}{condition} -a '(__kvault_sessions)'")
        if word_of(command) in FILES:
            lines.append(f"complete -c {name}{condition} -F")
    return "\n".join([*lines, ""])


def files(programs):
    found = {}
    for program in programs:
        found[f"tools/completions/{program.name}.bash"] = bash(program)
        found[f"tools/completions/_{program.name}"] = zsh(program)
        found[f"tools/completions/{program.name}.fish"] = fish(program)
    return found
