import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import mimtransfer
from mimtransfer.errors import UserError

ROOT = Path(mimtransfer.__file__).parents[1]


def run(code: str, *flags: str) -> str:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    done = subprocess.run([sys.executable, *flags, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fake_mmcv(folder: Path, compiled: bool) -> str:
    package = folder / "mmcv"
    package.mkdir()
    (package / "__init__.py").write_text("")
    if compiled:
        (package / "_ext.py").write_text("nms = 'compiled'\n")
    return f"sys.path.insert(0, {str(folder)!r})\n"


def ops_that_mmcv_loads() -> set[str]:
    """Names in `ext_loader.load_ext('_ext', [...])` calls of the installed `mmcv/ops/*.py`."""
    import mmcv

    names = set()
    for path in Path(mmcv.__file__).parent.joinpath("ops").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "load_ext":
                names.update(ast.literal_eval(node.args[1]))
    return names


def test_import_of_mimtransfer_loads_no_heavy_library():
    out = run(
        "import mimtransfer; print([m for m in ('torch', 'torchvision', 'mmcv', 'mmengine') if m in sys.modules])"
    )
    assert out == "[]"


def test_finder_is_installed_once():
    code = """
import importlib, mimtransfer
importlib.reload(mimtransfer); importlib.reload(sys.modules['mimtransfer.openmmlab.mmcv_ext']).install()
print(sum(getattr(f, '__name__', '') == 'StandInFinder' for f in sys.meta_path))"""
    assert run(code) == "1"


def test_stand_in_is_found_when_mmcv_was_imported_first(tmp_path):
    code = fake_mmcv(tmp_path, compiled=False) + (
        "import mmcv, mimtransfer, importlib.util, pkgutil\n"
        "print(importlib.util.find_spec('mmcv._ext').origin, pkgutil.get_loader('mmcv._ext') is not None)"
    )
    origin, found = run(code, "-S").rsplit(" ", 1)
    assert Path(origin) == ROOT / "mimtransfer" / "openmmlab" / "mmcv_ext" / "stand_in.py"
    assert found == "True"


def test_compiled_ops_are_left_alone(tmp_path):
    code = fake_mmcv(tmp_path, compiled=True) + "import mimtransfer, mmcv._ext; print(mmcv._ext.nms)"
    assert run(code, "-S") == "compiled"


def test_nothing_happens_without_mmcv():
    code = """
import mimtransfer, importlib.util
print(importlib.util.find_spec('mmcv'))
try: import mmcv._ext
except ModuleNotFoundError as error: print(error.name)"""
    assert run(code, "-S") == "None\nmmcv"


def test_every_mmcv_op_is_supplied_or_refuses_in_one_line(stand_in):
    wanted = ops_that_mmcv_loads()
    assert set(stand_in.__all__) <= wanted
    missing = wanted - set(stand_in.__all__)
    assert len(missing) > 80 and "carafe_forward" in missing
    for name in missing:
        with pytest.raises(UserError) as raised:
            getattr(stand_in, name)(1, key=2)
        message = str(raised.value)
        assert repr(name) in message and "\n" not in message
        assert "make setup MMCV=full" in message and "onedl-mmcv" in message


def test_probes_of_the_import_system_are_not_ops(stand_in):
    assert not hasattr(stand_in, "__path__")
    assert not hasattr(stand_in, "__wrapped__")
    assert inspect.unwrap(stand_in.nms_rotated).__name__ == "nms_rotated"


def test_refusal_reaches_the_user_of_a_wrapper():
    import torch
    from mmcv.ops import nms_rotated

    with pytest.raises(UserError, match="nms_rotated"):
        nms_rotated(torch.rand(2, 5), torch.rand(2), 0.5)


ATTENTION = """
from mmcv.ops import multi_scale_deform_attn as module
print(module.MultiScaleDeformableAttnFunction.keeps_points_wide, len(module.MultiScaleDeformableAttnFunction.mro()),
      sum(getattr(f, 'module', '') == module.__name__ for f in sys.meta_path))"""


def check_attention(line):
    kept, parents, finders = line.split()
    assert (kept, finders) == ("True", "1") and int(parents) <= 8


def test_mmdet_and_mmseg_import_and_report_their_environment():
    """And the points of deformable attention are kept, of an mmcv that is imported after mimtransfer."""
    code = """
import mimtransfer, mmdet.models, mmdet.apis, mmseg.models, mmseg.apis
from mmcv.ops import get_compiler_version, get_compiling_cuda_version
from mmengine.utils.dl_utils.misc import mmcv_full_available
print(mmcv_full_available(), bool(get_compiler_version()), bool(get_compiling_cuda_version()))"""
    *_, environment, attention = run(code + ATTENTION, "-W", "ignore").splitlines()
    assert environment == "True True True"
    check_attention(attention)


def test_points_of_deformable_attention_are_kept_where_mmcv_was_imported_first():
    code = """
import mimtransfer.openmmlab.mmcv_ext
sys.meta_path = [f for f in sys.meta_path if getattr(f, 'module', '') != 'mmcv.ops.multi_scale_deform_attn']
import mmcv.ops, importlib
assert not hasattr(mmcv.ops.multi_scale_deform_attn.MultiScaleDeformableAttnFunction, 'keeps_points_wide')
importlib.reload(mimtransfer); importlib.reload(mimtransfer)"""
    check_attention(run(code + ATTENTION).splitlines()[-1])
