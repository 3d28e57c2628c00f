"""Hook of mkdocs for the site: docstrings into reference.md, and links that only a checkout has into plain text.

The code is read, not imported, so the site is built without torch; mkdocstrings would bring seven more packages.
"""
from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_SECTION = re.compile(r"(Args|Returns|Raises|Yields|Attributes|Shapes?):$")
_ITEM = re.compile(r"(\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*): (.*)")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)#:]+)\)")


def on_page_markdown(markdown: str, *, page, **_) -> str:
    """Replace `::: module.name` by its documentation, and links to folders and to files outside docs by their text."""
    markdown = re.sub(r"^::: (\S+)$", lambda found: documentation(found.group(1)), markdown, flags=re.MULTILINE)
    folder = Path(page.file.abs_src_path).parent

    def keep(found: re.Match) -> str:
        target = (folder / found.group(2)).resolve()
        inside = target.is_file() and target.is_relative_to(ROOT / "docs")
        return found.group(0) if inside or not target.exists() else found.group(1)

    return _LINK.sub(keep, markdown)


def documentation(name: str) -> str:
    """Return the documentation of a function or class as Markdown.

    Raises:
        LookupError: there is no such name, or it has no docstring.
    """
    node = find(name)
    text = ast.get_docstring(node)
    if text is None:
        raise LookupError(f"{name} has no docstring")
    module, _, short = name.rpartition(".")
    if module.startswith("mimtransfer.api."):
        module = "mimtransfer"
    lines = [f"### {short}", "", f"```python\n{signature(node)}\n```", "", f"`from {module} import {short}`", ""]
    lines += sections(text)
    for method in node.body if isinstance(node, ast.ClassDef) else ():
        public = isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
        if public and (said := ast.get_docstring(method)):
            lines += ["", f"**`{signature(method)}`**", "", *sections(said)]
    return "\n".join([*lines, ""])


def find(name: str) -> ast.ClassDef | ast.FunctionDef:
    """Return the definition of `package.module.name` in its file."""
    *module, short = name.split(".")
    path = ROOT.joinpath(*module).with_suffix(".py")
    if path.is_file():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            # overloads, which come before, have no docstring
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == short and ast.get_docstring(node):
                return node
    raise LookupError(f"{name}: no such documented class or function; docs/reference.md names it")


def signature(node: ast.ClassDef | ast.FunctionDef) -> str:
    """Return name and arguments as written; of a class those of its constructor, or else its fields."""
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"{node.name}({_arguments(node)}){returns}"
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return f"{node.name}({_arguments(item)})"
    fields = [ast.unparse(item) for item in node.body if isinstance(item, ast.AnnAssign)]
    return f"{node.name}({', '.join(fields)})"


def _arguments(node: ast.FunctionDef) -> str:
    return re.sub(r"^self(, )?", "", ast.unparse(node.args))


def sections(text: str) -> Iterator[str]:
    """Yield a docstring's lines, its sections as lists."""
    inside = False
    for line in inspect.cleandoc(text).splitlines():
        if found := _SECTION.fullmatch(line):
            inside = True
            yield from ("", f"**{found.group(1)}**", "")
        elif inside and line and not line.startswith(" "):
            inside = False
            yield from ("", line)
        elif inside and (item := _ITEM.fullmatch(line.removeprefix("    "))) and not line.startswith("     "):
            yield f"- `{item.group(1)}`: {item.group(2)}"
        elif inside and line:
            yield f"  {line.strip()}"
        else:
            yield line
