"""The config in a checkpoint is read as values, never run."""
import pytest
import torch
from mmengine.config import Config

from mimtransfer.checkpoints.recorded_config import config_in_checkpoint, read_values
from mimtransfer.errors import UserError


def test_what_mmengine_writes_is_read_back():
    values = dict(
        model=dict(type="MAE", ratio=-0.75, none=None, flag=True, nested=dict(empty=dict(), names=["a", ("b",)])),
        hooks=[dict(type="A", at=(1,)), dict(type="B", limit=float("inf")), "it's \"quoted\"\nand long"],
        mapping={"a b": dict(c=1), "1": [1, [2, 3]], "lr*": {"x.y": 2}},
        inside=[{"not an identifier": 1}],
        number=1e-6,
        low=float("-inf"),
    )
    assert read_values(Config(values).pretty_text) == values


@pytest.mark.parametrize(
    "text",
    [
        "a = __import__('os').system('touch FILE')",
        "import os",
        "a = dict(**{'x': open('FILE', 'w')})",
        "a = dict(open('FILE', 'w'))",
        "a.b = 1",
        "a = [x for x in (1,)]",
        "a = (",
        "open('FILE', 'w')",
    ],
)
def test_code_is_refused_and_not_run(text, tmp_path):
    file = tmp_path / "made"
    torch.save({"meta": {"cfg": text.replace("FILE", str(file))}, "state_dict": {}}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"x\.pth'.*--config") as error:
        config_in_checkpoint(tmp_path / "x.pth")
    assert not file.exists() and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [{"meta": {}}, {"state_dict": {}}, {"meta": {"cfg": None}}])
def test_checkpoint_without_config(content, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no config"):
        config_in_checkpoint(tmp_path / "x.pth")
