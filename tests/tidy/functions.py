"""Finds functions and their lengths: find(text, suffix) -> [(name, first line, lines)]."""
import ast
import re

NOT_A_FUNCTION = re.compile(
    r"^(?:(?:public|private|protected)\s*:\s*)*"
    r"(?:template\s*<[^{}]*>\s*)?"
    r"(?:inline\s+|typedef\s+|static\s+|constexpr\s+|const\s+|export\s+)*"
    r"(?:namespace|class|struct|union|enum|extern)\b(?![^{}]*\)\s*(?:const|noexcept|->|$))")


def blank(match):
    """Replaces what was matched by blanks, line ends kept."""
    return re.sub(r"[^\n]", " ", match[0])


def bare(text):
    """C++ without comments, literals and preprocessor lines, at unchanged positions."""
    literal = re.compile(
        r'R"(?P<mark>[^()\s\\]{0,16})\(.*?\)(?P=mark)"'
        r"|//[^\n]*|/\*.*?\*/"
        r'|"(?:\\.|[^"\\\n])*"'
        r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", re.DOTALL)
    text = literal.sub(blank, text)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.MULTILINE)


def name_of(head, original):
    """A short name for a function's head: its identifier, or the text of a test case."""
    test = re.search(r'\b(?:TEST_CASE\w*|SUBCASE)\s*\(\s*"([^"]*)"', original)
    if test:
        return re.sub(r"\s+", "_", test[1])
    found = re.search(r"([~\w:]+(?:\s*operator\s*\S+?)?)\s*\(", head)
    return found[1] if found else "unnamed"


def opens_function(head):
    head = re.sub(r"\[\[[^\]]*\]\]|\balignas\s*\([^)]*\)", " ", head).strip()
    return "(" in head and not head.endswith("=") and not NOT_A_FUNCTION.match(head)


def find_cpp(text):
    code = bare(text)
    found, depth, start, inside = [], 0, 0, None  # inside: (name, position, depth) of a function
    pending = None  # where a constructor with a braced initialiser list began
    for position in (match.start() for match in re.finditer(r"[{};]", code)):
        mark = code[position]
        head = code[start:position]
        if mark == "{":
            if inside is None and opens_function(head):
                begin = start + len(head) - len(head.lstrip())
                name = name_of(head, text[begin:position])
                if head.lstrip().startswith(",") and pending:
                    name, begin = pending
                inside = (name, begin, depth)
            depth += 1
        elif mark == "}":
            depth -= 1
            if inside and depth == inside[2]:
                name, begin, _ = inside
                pending, inside = (name, begin), None
                first = code.count("\n", 0, begin) + 1
                found.append((name, first, code.count("\n", begin, position) + 1))
        start = position + 1
    return found


def find_python(text):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(node.name, node.lineno, node.end_lineno - node.lineno + 1)
            for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]


def find(text, suffix):
    return find_python(text) if suffix == ".py" else find_cpp(text)
