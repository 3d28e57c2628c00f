"""The package `lvis`, which mmdet's LVISMetric needs: found, and made to work with the numpy of today."""
import importlib
from types import ModuleType
from typing import Any

import numpy as np

from mimtransfer.errors import UserError


def prepare_lvis() -> None:
    """Give lvis 0.5.3, the newest on PyPI, the `np.float` that numpy 1.24 dropped; numpy itself stays as it is.

    Call before the metric is built: mmdet looks for the package when its metrics are imported.

    Raises:
        UserError: the package is not installed.
    """
    try:
        evaluation: Any = importlib.import_module("lvis.eval")
    except ImportError as error:
        raise UserError(f"LVIS is scored by the package lvis, which is missing ({error}): "
                        "pip install 'mimtransfer[lvis]', or pip install lvis") from None
    if not hasattr(evaluation.np, "float"):
        evaluation.np = ModuleType("numpy")
        evaluation.np.__dict__.update(vars(np), float=float)
