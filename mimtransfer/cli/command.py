"""The console command `mimtransfer`: every file of tools/ by its name, from a checkout or an installed wheel.

`mimtransfer train CONFIG` runs tools/train.py as `python tools/train.py CONFIG` does: as `__main__`, in this process.
Nothing is imported before the tool is known, so `mimtransfer --help` answers at once.
"""
from __future__ import annotations

import ast
import os
import re
import sys
from pathlib import Path
from types import ModuleType

from mimtransfer.errors import UserError, near_matches
from mimtransfer.shipped.places import shipped

_FIRST = ("pretrain", "train", "test", "predict", "table", "transfer", "plan", "doctor")
_ALIASES = {"convert": "convert-checkpoint"}
_OWN = {
    "configs": "List the configs that are shipped, one line each; mimtransfer configs PATTERN",
    "where": "Print where a config, a tool, a page docs/NAME.md or all of it lies; mimtransfer where [NAME]",
    "launch": "Run pretrain, train or test on all GPUs: mimtransfer launch train CONFIG",
    "completion": "Print a script that completes commands, options and configs; mimtransfer completion bash|zsh",
}


def tools() -> dict[str, Path]:
    """Return name of the command -> file of tools/; the usual way from images to a table comes first."""
    files = {path.stem.replace("_", "-"): path for path in sorted(shipped("tools").glob("*.py"))}
    return {name: files[name] for name in [*_FIRST, *files] if name in files}


def usage() -> str:
    """Word what the command can do, a line for each tool."""
    rows = {name: _summary(path) for name, path in tools().items()} | _OWN
    width = max(map(len, rows))
    lines = [f"  {name:{width}}  {text}" for name, text in rows.items()]
    return "\n".join([
        "usage: mimtransfer COMMAND [ARGUMENTS]", "",
        "From masked image modelling to transfer tables. Each command has its own --help. A CONFIG is a file, or the",
        "short name of one that is shipped: mimtransfer pretrain mae_vit-base_800e_in1k", "",
        *lines, "",
        "Where a message names a page of docs/: mimtransfer where docs/own-data.md",
    ])  # fmt: skip


def _summary(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"[.;]\s", " ".join(text.partition("\n\n")[0].split()))[0].rstrip(".")


def main() -> None:
    """Run the tool that the first word names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(usage())
    elif name == "--version":
        from mimtransfer import __version__

        print(__version__)
    elif name in _OWN:
        _say(name, arguments)
    else:
        name = name.replace("_", "-")
        name = _ALIASES.get(name, name)
        known = tools()
        if name not in known:
            hint = near_matches(name, [*known, *_ALIASES, *_OWN]) or "mimtransfer --help lists them"
            _refuse(f"mimtransfer has no command {name!r}; {hint}")
        run_tool(name, known[name], arguments)


def run_tool(name: str, path: Path, arguments: list[str]) -> None:
    """Run a file of tools/ as Python runs a script, but for its name in messages."""
    module = ModuleType("__main__")
    module.__file__ = str(path)  # processes that start anew, as loader workers may, run it under another name
    sys.modules["__main__"] = module
    sys.argv = [f"mimtransfer {name}", *arguments]
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)


def as_typed(text: str) -> str:
    """Name tools as the console command does, where it is what runs: `mimtransfer train` for `tools/train.py`."""
    if not sys.argv[0].startswith("mimtransfer "):
        return text
    return re.sub(r"(?:python )?tools/(\w+)\.py", lambda found: f"mimtransfer {found[1].replace('_', '-')}", text)


def _say(name: str, arguments: list[str]) -> None:
    """Answer the commands that are no tools."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(_OWN[name])
        return
    try:
        if name == "launch":
            _launch(arguments)
        elif len(arguments) > 1:
            raise UserError(f"mimtransfer {name}: got {len(arguments)} arguments, expected one at most; {_OWN[name]}")
        elif name == "configs":
            from mimtransfer.shipped.heads import listing, matching

            print(listing(matching(arguments[0] if arguments else None)))
        elif name == "where":
            print(where(arguments[0]) if arguments else shipped("configs").parent)
        else:
            from mimtransfer.cli.completion import script

            print(script(arguments[0] if arguments else ""))
    except UserError as error:
        _refuse(str(error))
    except BrokenPipeError:  # `mimtransfer configs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def where(name: str) -> str:
    """Return the file of a tool, of a script in tools/launch, of a page that messages name, or of a config.

    Raises:
        UserError: there is nothing of this name.
    """
    from mimtransfer.shipped.configs import find_config, locate

    tool = name.removesuffix(".py").replace("_", "-")
    script = shipped("tools") / "launch" / name.removeprefix("launch/")
    if name.partition("/")[0] == "docs" or (name.endswith(".md") and not os.path.isfile(name)):
        return str(_page(name.rstrip("/")))
    if script.is_file():
        return str(script)
    path = tools().get(_ALIASES.get(tool, tool))
    return str(path or os.path.abspath(locate(name) or locate(name, suites=True) or find_config(name)))


def _page(name: str) -> Path:
    """Return the folder of the pages, or a file below it by its name with or without `docs/`.

    Raises:
        UserError: there is none. A wheel has the pages alone, and nothing of the folders beside them.
    """
    docs = shipped("docs")
    below = "" if name == "docs" else name.removeprefix("docs/")
    if (docs / below).exists():
        return docs / below
    folder = os.path.dirname(below)
    if folder and not (docs / folder).is_dir():
        raise UserError(f"'docs/{below}' is not in the package, which has no folder docs/{folder}: look for it in the "
                        f"repository; the pages that are here lie in {docs}")
    pages = sorted(f"docs/{path.relative_to(docs)}" for path in (docs / folder).glob("*.md"))
    raise UserError(f"{name!r}: no such page; {near_matches(f'docs/{below}', pages) or 'expected ' + ', '.join(pages)}")


def _launch(arguments: list[str]) -> None:
    """Become tools/launch/torchrun.sh, with the Python that we are."""
    script = str(shipped("tools") / "launch" / "torchrun.sh")
    sys.stdout.flush()
    os.environ.setdefault("PYTHON", sys.executable)
    os.execvp("bash", ["bash", script, *arguments])


def _refuse(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
