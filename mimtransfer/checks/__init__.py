"""Checks before a run: of the machine, of a config's data and annotations, of the recipe. One implementation for
`tools/doctor.py` and for the tools' own look before they start.

    environment.py   versions, operators, devices
    config.py        a whole config: does it read, are the data there and sane, does the checkpoint fit
    settings.py      every key and value of a config, held against what it builds (signatures.py, values.py)
    data.py          files, classes and heads of a transfer config
    annotations.py   what trains without an error and ruins the score
    recipe.py        lr, batch, length and normalisation against the recipe and the pretraining
    overfit.py       can the pipeline learn a few images by heart
"""
from __future__ import annotations

from typing import NamedTuple

OK, WARN, FAIL = "ok", "warn", "FAIL"


class Finding(NamedTuple):
    """One thing looked at."""

    level: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f"\n         -> {self.mend}" if self.mend else ""
        return f"  {self.level:<5}  {self.what}{mend}"
