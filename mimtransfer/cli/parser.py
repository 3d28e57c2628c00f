"""The parser of the tools that are typed most: an option that it does not know is answered with near ones."""
from __future__ import annotations

import argparse
from typing import NoReturn

from mimtransfer.errors import near_matches

_UNKNOWN = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """argparse's parser, but for an unknown option: one line instead of the usage of a screen."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and end with status 2."""
        words = message.removeprefix(_UNKNOWN).split()
        if not message.startswith(_UNKNOWN) or not words[0].startswith("-"):
            super().error(message)
        option = words[0].partition("=")[0]
        known = [name for name, action in self._option_string_actions.items() if action.help is not argparse.SUPPRESS]
        hint = near_matches(option, known) or f"{self.prog} --help lists all"
        self.exit(2, f"error: {self.prog} has no option {option!r}; {hint}\n")
