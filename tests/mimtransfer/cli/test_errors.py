"""clean_exit: a mistake of the user is one line and status 2, a bug keeps its traceback."""
import os
import signal
import subprocess
import sys
import warnings

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import Registry
from torch.utils.data import DataLoader, Dataset

from mimtransfer.cli.clean_exit import clean_exit
from mimtransfer.cli.explain import explain
from mimtransfer.errors import UserError, near_files, near_matches

SHAPES = Registry("shape", scope="errtest", locations=["tests_errors_lazy_shapes"])
OWN_MODELS = Registry("model", parent=ROOT_MODELS, scope="errtest")


@SHAPES.register_module()
class Square:
    def __init__(self, side, colour="red"):
        if side < 0:
            raise UserError(f"side={side} of Square is negative: give a length")
        self.area = undefined_name if side == 13 else side**2  # noqa: F821, a bug


@SHAPES.register_module()
class Mosaic(Square):
    def __init__(self, gap=0, **kwargs):
        super().__init__(**kwargs)
        if gap:
            Square(sidee=gap)  # a bug


@SHAPES.register_module()
class Frame:
    def __init__(self, parts):
        for part in parts:
            Square(**part["cfg"])  # as mmdet's transformers hand on dicts without a type


@OWN_MODELS.register_module()
class PlainViT:
    def __init__(self, shape=None):
        self.shape = SHAPES.build(shape)


@pytest.fixture(autouse=True)
def lazy_shapes(tmp_path, monkeypatch):
    """A module that registers Circle when it is first looked up."""
    here = __name__
    monkeypatch.setitem(sys.modules, here, sys.modules.get(here) or type(sys)(here))
    monkeypatch.setattr(sys.modules[here], "SHAPES", SHAPES, raising=False)
    text = f"import sys\n@sys.modules[{here!r}].SHAPES.register_module(force=True)\nclass Circle:\n    pass\n"
    (tmp_path / "tests_errors_lazy_shapes.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("MIMTRANSFER_TRACEBACK", raising=False)


def told(function, *args, **kwargs):
    """Return what explain says of the error of a call: a line, or None for a bug."""
    try:
        function(*args, **kwargs)
    except Exception as error:
        line = explain(error)
        assert line is None or "\n" not in line
        return line
    raise AssertionError("no error")


# The exit itself


def test_a_user_error_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as stop, clean_exit():
        raise UserError("no image in 'data': give a folder with images")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: no image in 'data': give a folder with images\n"


def test_a_bug_keeps_its_traceback(capsys):
    with pytest.raises(ZeroDivisionError), clean_exit():
        1 / 0  # noqa: B018
    with pytest.raises(ValueError, match="not for users"), clean_exit():
        raise ValueError("not for users")
    assert capsys.readouterr().err == ""
    with pytest.raises(SystemExit) as stop, clean_exit():
        raise KeyboardInterrupt
    assert stop.value.code == 130 and capsys.readouterr().err == "stopped by Ctrl-C\n"


def test_warnings_that_no_user_can_mend_are_hidden():
    notices = ["``build_loss`` would be deprecated soon, please use ...", "Default ``avg_non_ignore`` is False, if ...",
               "Warning: The bbox is out of bounds, the ...", "Warning: The polygon is out of bounds, the ..."]
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with clean_exit():
            for notice in [*notices, "lr is 0"]:
                warnings.warn(notice, stacklevel=1)
    assert [str(each.message) for each in shown] == ["lr is 0"]


def test_the_environment_asks_for_the_traceback(monkeypatch):
    monkeypatch.setenv("MIMTRANSFER_TRACEBACK", "1")
    with pytest.raises(UserError), clean_exit():
        raise UserError("x")
    monkeypatch.setenv("MIMTRANSFER_TRACEBACK", "0")
    with pytest.raises(SystemExit), clean_exit():
        raise UserError("x")


def test_a_tool_ends_with_status_2_and_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\nfrom mimtransfer.cli.clean_exit import clean_exit\nfrom mimtransfer.errors import UserError\n"
        "heavy = {'torch', 'numpy', 'mmengine', 'timm', 'difflib'} & set(sys.modules)\nassert not heavy, heavy\n"
        "with clean_exit():\n    raise UserError('wrong')\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    env = os.environ | {"PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: wrong\n")


# Names and arguments


def test_unknown_name_of_a_lazy_registry():
    line = told(SHAPES.build, {"type": "Cirkle"})
    assert line == "'Cirkle' is not in the errtest::shape registry; did you mean 'Circle'?"


def test_unknown_name_without_near_match_lists_a_small_registry():
    line = told(SHAPES.build, {"type": "Tesseract"})
    assert line == "'Tesseract' is not in the errtest::shape registry; known: Circle, Frame, Mosaic, Square"


def test_near_matches_come_from_children_with_their_scope_and_from_parents():
    assert "did you mean 'errtest.PlainViT'?" in told(ROOT_MODELS.build, {"type": "PlainVit"})
    assert "did you mean 'errtest.PlainViT'?" in told(ROOT_MODELS.build, {"type": "errtest.PlainVit"})
    line = told(OWN_MODELS.build, {"type": "StackedLinearClsHeed"})
    assert line.startswith("'StackedLinearClsHeed' is not in the errtest::model registry")
    line = told(OWN_MODELS.build, {"type": "ImgDataPreproccesor"})
    assert "did you mean 'ImgDataPreprocessor', " in line  # then others, also mmdet's where it is loaded


def test_unknown_module_in_a_name():
    assert "did you mean 'errtest.PlainViT'?" in told(OWN_MODELS.build, {"type": "errtest.models.PlainViTs"})


def test_unknown_strategy_of_the_project():
    from mimtransfer.registry import MASKINGS

    assert "did you mean 'RandomMasking'" in told(MASKINGS.build, {"type": "RandmMasking"})


def test_wrong_arguments_are_named():
    assert told(SHAPES.build, {"type": "Square", "side": 1, "color": "blue"}) == (
        "config of Square: it takes no argument 'color'; did you mean 'colour'?"
    )
    assert told(SHAPES.build, {"type": "Mosaic", "side": 1, "color": "blue"}) == (
        "config of Mosaic: it takes no argument 'color'; did you mean 'colour'?"
    )
    assert told(SHAPES.build, {"type": "Mosaic", "side": 1, "gap": 2}) is None
    parts = [dict(cfg=dict(side=1)), dict(cfg=dict(side=1, color="blue"))]
    assert told(SHAPES.build, {"type": "Frame", "parts": parts}) == (
        "config of Frame: Square in it takes no argument 'color'")
    assert told(SHAPES.build, {"type": "Square"}) == "config of Square: missing 1 required positional argument: 'side'"


def test_errors_inside_a_constructor():
    assert told(SHAPES.build, {"type": "Square", "side": -1}) == "side=-1 of Square is negative: give a length"
    assert told(SHAPES.build, {"type": "Square", "side": 13}) is None
    assert told(lambda: Square(sidee=1)) is None  # not from a config


def test_builders_that_wrap_the_message_are_unwrapped():
    wrapped = UserError("class `Runner` in a/runner.py: class `PlainViT` in a/b.py: side=-1: give a length")
    assert explain(wrapped) == "side=-1: give a length (while building Runner > PlainViT)"
    wrapped = KeyError("class `PlainViT` in a.py: 'RandmMasking is not in the mimtransfer::masking strategy registry'")
    line = explain(wrapped)
    assert line.startswith("'RandmMasking' is not in the mimtransfer::masking strategy registry; did you mean 'RandomM")
    assert line.endswith("? (while building PlainViT)")


class Broken(Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        try:
            raise OSError("cannot identify image file")
        except OSError as cause:
            raise self.error from cause


def test_errors_of_workers_are_reduced_to_their_line():
    def load(error):
        return told(list, DataLoader(Broken(error), num_workers=1))

    assert load(UserError("image 'a.jpg' is corrupt: remove it")) == "image 'a.jpg' is corrupt: remove it"
    assert load(FileNotFoundError(2, "No such file or directory", "nowhere/a.jpg")) == (
        "No such file or directory: 'nowhere/a.jpg'; the folder 'nowhere' does not exist"
    )
    assert load(ValueError("a bug")) is None


# Configs and files


def test_missing_config_and_missing_base(tmp_path):
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_" / "runtime.py").write_text("a = 1\n")
    leaf = tmp_path / "mae_tiny.py"
    leaf.write_text("_base_ = ['_base_/runtimes.py']\n")
    assert told(Config.fromfile, str(tmp_path / "mae_tinny.py")).endswith(
        "mae_tinny.py': no such file; did you mean 'mae_tiny.py'?"
    )
    line = told(Config.fromfile, str(leaf))
    assert line.startswith(f"config {str(leaf)!r}: its base ")
    assert line.endswith("runtimes.py' does not exist; did you mean 'runtime.py'?")
    leaf.write_text("_base_ = 'mmdet::_base_/models/faster_rcnn_r50_fpn.py'\n")
    assert "did you mean 'faster-rcnn_r50_fpn.py'" in told(Config.fromfile, str(leaf))
    assert told(Config.fromfile, str(tmp_path)) == f"config {str(tmp_path)!r} is a folder; give a file in it"


def test_syntax_error_and_error_in_a_config(tmp_path):
    base, leaf = tmp_path / "base.py", tmp_path / "leaf.py"
    base.write_text("a = 1\nb = dict(c=\n")
    assert told(Config.fromfile, str(base)) == f"config {str(base)!r}, line 2: '(' was never closed"
    leaf.write_text("_base_ = './base.py'\n")
    assert told(Config.fromfile, str(leaf)) == f"config {str(base)!r}, line 2: '(' was never closed"
    leaf.write_text("a = 1\nb = a * epochs\n")
    assert told(Config.fromfile, str(leaf)) == f"config {str(leaf)!r}, line 2: NameError: name 'epochs' is not defined"
    leaf.write_text("a = {{_base_.nothing}}\n")
    assert told(Config.fromfile, str(leaf)) == f"config {str(leaf)!r}: the key 'nothing' is in none of its bases"
    leaf.write_text("custom_imports = dict(imports=['no_such_module_of_mine'])\n")
    assert "no_such_module_of_mine" in told(Config.fromfile, str(leaf))
    leaf = tmp_path / "leaf.txt"
    leaf.write_text("a = 1\n")
    assert "Only py/yml/yaml/json type are supported now!" in told(Config.fromfile, str(leaf))


def test_bases_and_overrides_that_do_not_merge(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("x = 2\n")
    leaf = tmp_path / "leaf.py"
    leaf.write_text("_base_ = ['a.py', 'b.py']\n")
    assert "Duplicate keys: {'x'}" in told(Config.fromfile, str(leaf))
    cfg = Config({"hooks": [{"interval": 1}], "lr": 1.0})
    assert told(cfg.merge_from_dict, {"hooks.3.interval": 2}).startswith("config: Index 3 exceeds the length of list")
    assert "lr is a dict in the child config" in told(cfg.merge_from_dict, {"lr.value": 2})


def test_missing_files(tmp_path):
    (tmp_path / "train.json").touch()
    line = told(open, tmp_path / "trian.json")
    assert line == f"No such file or directory: {str(tmp_path / 'trian.json')!r}; did you mean 'train.json'?"
    for below in ("wd", "a/b"):  # what is in the way is there, and no folder
        assert told(os.makedirs, tmp_path / "train.json" / below).endswith(
            f"; {str(tmp_path / 'train.json')!r} is a file, no folder")
    assert told(open, tmp_path) == f"Is a directory: {str(tmp_path)!r}"


def test_near_matches_and_near_files(tmp_path):
    assert near_matches("randommasking", ["RandomMasking", "Square"]) == "did you mean 'RandomMasking'?"
    assert near_matches("epoch_3", ["epoch_1", "epoch_2", "epoch_4", "epoch_5"]).count("'") == 6
    assert near_matches("xyz", ["RandomMasking"]) == "" == near_matches("xyz", [])
    assert near_files(str(tmp_path / "no" / "a.pth")) == f"; the folder {str(tmp_path / 'no')!r} does not exist"
    assert near_files(str(tmp_path / "tests_errors_lazy_shape.py")) == "; did you mean 'tests_errors_lazy_shapes.py'?"


def test_a_value_that_a_constructor_cannot_use_is_told_with_its_class():
    line = told(SHAPES.build, {"type": "Square", "side": "wide"})
    assert line.startswith("config of Square: it cannot be built (TypeError: ") and "side='wide'" in line
    assert "\n" not in line


def test_batch_normalisation_of_one_value_is_told():
    from torch import nn, rand

    line = told(lambda: nn.BatchNorm2d(4).train()(rand(1, 4, 1, 1)))
    assert "set train_dataloader.batch_size to 2 or more" in line and "\n" not in line


def test_a_signal_that_a_library_turns_into_an_error_ends_the_run_as_a_signal(capsys):
    """mmengine formats the config of every checkpoint inside a bare `except`."""
    with pytest.raises(SystemExit) as stop, clean_exit():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException:
            raise SyntaxError("Failed to format the config file") from None
    assert stop.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "stopped by SIGTERM\n"
