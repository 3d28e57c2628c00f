"""A strict reader of one LaTeX `tabular`: what TeX would refuse, or print otherwise than it is meant, is an error."""
import re

_ENVIRONMENT = re.compile(r"\\begin\{tabular\}\{([lcr]+)\}\n(.*)\n\\end\{tabular\}\n", re.DOTALL)
_SPAN = re.compile(r"\\multicolumn\{(\d+)\}\{[lcr]\}\{(.*)\}", re.DOTALL)
_RULES = re.compile(r"\\(toprule|midrule|bottomrule)|(\\cmidrule\(lr\)\{\d+-\d+\} ?)*")
_COMMANDS = {"textbf", "pm", "dag", "ddag", "multicolumn", "textbackslash", "textasciitilde", "textasciicircum",
             "textless", "textgreater", "textbar"}  # fmt: skip


def read(text):
    """Return the rows, each a list of (number of columns it spans, content).

    Raises:
        ValueError: what is wrong.
    """
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    found = _ENVIRONMENT.fullmatch("\n".join(lines) + "\n")
    if found is None:
        raise ValueError("no single tabular of columns l, c and r")
    width, rows = len(found[1]), []
    body = found[2].split("\n")
    if (body[0], body[-1]) != (r"\toprule", r"\bottomrule"):
        raise ValueError("not between toprule and bottomrule")
    for line in body:
        if _RULES.fullmatch(line):
            for first, last in re.findall(r"(\d+)-(\d+)", line):
                if not 1 < int(first) <= int(last) <= width:
                    raise ValueError(f"a rule beyond the columns: {line}")
            continue
        if not line.endswith(r" \\"):
            raise ValueError(f"a row without its end: {line}")
        if line.startswith(("[", "*")):
            raise ValueError(f"an argument of the row end before: {line}")
        row = [_cell(cell.strip()) for cell in re.split(r"(?<!\\)&", line[:-3])]
        if sum(span for span, _ in row) != width:
            raise ValueError(f"expected {width} columns: {line}")
        rows.append(row)
    return rows


def _cell(text):
    span, content = 1, text
    if (found := _SPAN.fullmatch(text)) is not None:
        span, content = int(found[1]), found[2]
    depth, mathematics, at = 0, False, 0
    while at < len(content):
        letter = content[at]
        if letter == "\\":
            name = re.match(r"[a-zA-Z]+|.", content[at + 1 :])[0]
            if (name.isalpha() and name not in _COMMANDS) or (not name.isalpha() and name not in "&%$#_{}"):
                raise ValueError(f"unknown command {name!r}: {text}")
            at += len(name)
        elif letter in "{}":
            depth += 1 if letter == "{" else -1
            if depth < 0:
                raise ValueError(f"a brace too many: {text}")
        elif letter == "$":
            mathematics = not mathematics
        elif letter in "%#&~" or (letter in "^_") != (letter in "^_" and mathematics) or letter in "<>|":
            raise ValueError(f"{letter!r} is not printed as such: {text}")
        at += 1
    if depth or mathematics:
        raise ValueError(f"not closed: {text}")
    return span, content
