"""Checks before a run: of the machine, of a config's data and annotations, of the recipe. One implementation for
`tools/doctor.py` and for the tools' own look before they start.

    environment.py   versions, operators, devices
    config.py        a whole config: does it read, are the data there and sane, does the checkpoint fit
    settings.py      every key and value of a config, held against what it builds (signatures.py, values.py)
    data.py          the data of a transfer config, split by split: classes, heads, evaluators, and what follows
    channels.py      images of other channels than RGB
    annotations.py   COCO jsons: what is missing, of another type, or names nothing
    detections.py    COCO results: boxes and masks that are found
    comparison.py    stored predictions of two checkpoints: do they belong together
    objects.py       COCO jsons: boxes, areas and masks that cannot be, and whether an object is left to learn from
    index_maps.py    index maps: which files count, their values and sizes
    image_files.py   image files: are they there, can they be decoded, have they the size that is said
    class_folders.py folders of classes
    recipe.py        lr, batch, length and normalisation against the recipe and the pretraining
    overfit.py       a config that learns a few images by heart
    overfit_verdict.py  whether it could, and the most likely cause when it could not
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

OK, WARN, FAIL = "ok", "warn", "FAIL"


class Finding(NamedTuple):
    """One thing looked at."""

    level: str
    what: str
    fix: str = ""

    @property
    def line(self) -> str:
        """What a tool says that stops for it, or logs it."""
        return f"{self.what}; {self.fix}" if self.fix else self.what

    def __str__(self) -> str:
        fix = f"\n         -> {self.fix}" if self.fix else ""
        return f"  {self.level:<5}  {self.what}{fix}"


def counted(level: str, cases: list, what: str, fix: str) -> Iterator[Finding]:
    """Yield a finding about entries, with their number and the first of them; nothing where there are none."""
    if cases:
        # Names of files may hold bytes that are no text, which a log cannot write.
        shown = (str(case).encode("utf-8", "backslashreplace").decode() for case in cases[:50])
        named = ", ".join(dict.fromkeys(shown))
        yield Finding(level, f"{len(cases)} {what}: {named[:160]}{' ...' if len(named) > 160 else ''}", fix)
