"""What `tools/doctor.py` finds: one line each, and how to mend it."""
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
