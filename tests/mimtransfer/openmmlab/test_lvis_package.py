"""The package lvis: one line where it is missing, and a stand-in of its 2020 code runs under the numpy of today."""
import sys
from types import ModuleType

import numpy as np
import pytest
from mmengine.config import ConfigDict

from mimtransfer.checks.data import check_data
from mimtransfer.errors import UserError
from mimtransfer.openmmlab.lvis_package import prepare_lvis

CFG = ConfigDict(
    val_dataloader=dict(dataset=dict(type="any", metainfo=dict(classes=()))),
    val_evaluator=[dict(type="mmdet.LVISMetric")],
    model={},
)


def test_missing_package_is_named_with_its_data(monkeypatch):
    monkeypatch.setitem(sys.modules, "lvis", None)
    with pytest.raises(UserError, match=r"LVIS is scored by the package lvis.*pip install lvis"):
        check_data(CFG, splits=("val",))


def test_float_that_numpy_dropped(monkeypatch):
    evaluation = ModuleType("lvis.eval")
    exec("import numpy as np\ndef tp_sum(tps): return np.cumsum(tps, axis=1).astype(dtype=np.float)", vars(evaluation))
    monkeypatch.setitem(sys.modules, "lvis", ModuleType("lvis"))
    monkeypatch.setitem(sys.modules, "lvis.eval", evaluation)
    with pytest.raises(AttributeError):
        evaluation.tp_sum(np.ones((1, 3)))
    prepare_lvis()
    assert evaluation.tp_sum(np.ones((1, 3), bool)).tolist() == [[1.0, 2.0, 3.0]]
    assert not hasattr(np, "float")
