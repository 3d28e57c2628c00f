"""Completion of `mimtransfer` in a shell, by shtab from the tools' own parsers.

    eval "$(mimtransfer completion bash)"        in ~/.bashrc; zsh: > ~/.zfunc/_mimtransfer, with ~/.zfunc in fpath
"""
from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from mimtransfer.cli import command
from mimtransfer.errors import UserError
from mimtransfer.shipped.configs import leaves

_SHELLS = ("bash", "zsh")
_CONFIGS = ("config", "configs", "suite")  # arguments of tools that name one
# Files count too; in bash a function prints what is possible, in zsh it is an action of _arguments.
_PREAMBLE = {
    "bash": """_mimtransfer_of() {{ compgen -W "$1" -- "$2"; compgen -f -X '!*.py' -- "$2"; compgen -d -- "$2"; }}
_mimtransfer_configs() {{ _mimtransfer_of '{configs}' "$1"; }}
_mimtransfer_suites() {{ _mimtransfer_of '{suites}' "$1"; }}
""",
    "zsh": """_mimtransfer_configs() {{ _alternative 'configs:config:({configs})' 'files:file:_files -g "*.py"' }}
_mimtransfer_suites() {{ _alternative 'suites:suite:({suites})' 'files:file:_files -g "*.py"' }}
""",
}


class _Parser(Exception):
    """Carries the parser of a tool out of its `parse_args`."""


def script(shell: str) -> str:
    """Return the script for a shell.

    Raises:
        UserError: another shell, or shtab is not installed.
    """
    if shell not in _SHELLS:
        raise UserError(f"mimtransfer completion: got {shell!r}, expected one of {', '.join(_SHELLS)}")
    try:
        import shtab
    except ImportError:
        raise UserError("completion needs shtab: pip install 'mimtransfer[completion]'") from None
    names = {"configs": " ".join(path.stem for path in leaves(suites=False)),
             "suites": " ".join(path.stem for path in leaves(suites=True))}
    preamble: Any = {shell: _PREAMBLE[shell].format(**names)}  # a text for each shell; its type says less
    return shtab.complete(whole_parser(), shell, preamble=preamble)


def whole_parser() -> argparse.ArgumentParser:
    """Return one parser with a command for each tool."""
    parser = argparse.ArgumentParser(prog="mimtransfer")
    commands = parser.add_subparsers()
    for name, path in command.tools().items():
        own = parser_of(name, path)
        commands.add_parser(name, parents=[own], add_help=False, help=command._summary(path))
        for action in own._actions:
            if not action.option_strings and action.dest in _CONFIGS:
                _complete(action, "suites" if action.dest == "suite" else "configs")
    for name, text in command._OWN.items():
        own = commands.add_parser(name, help=text)
        if name == "completion":
            own.add_argument("shell", choices=_SHELLS)
        elif name in ("configs", "where"):
            _complete(own.add_argument("name"), "configs")
    return parser


def _complete(argument: argparse.Action, what: str) -> None:
    argument.complete = dict.fromkeys(_SHELLS, f"_mimtransfer_{what}")  # type: ignore[attr-defined]  # shtab reads it


def parser_of(name: str, path: Path) -> argparse.ArgumentParser:
    """Return the parser of a tool, by stopping its `parse_args` where it would read the command line."""
    def stop(self, *args, **kwargs):
        raise _Parser(self)

    before = sys.path[:]
    try:
        read = runpy.run_path(str(path), run_name=f"mimtransfer {name}")["parse_args"]
        with mock.patch.object(argparse.ArgumentParser, "parse_args", stop):
            read()
    except _Parser as found:
        return found.args[0]
    finally:
        sys.path[:] = before
    raise AssertionError(f"{path} parses nothing")
