"""Every kind of bad data is found before the data are loaded, and doctor and pre-check say the same line."""
import pytest
from bad_coco_cases import COCO
from bad_data import HEIGHT, WIDTH, fifo, lost, picture
from bad_map_cases import CLASS_FOLDERS, MAPS

import mimtransfer  # noqa: F401  before mmdet and mmseg
from mimtransfer.checks import FAIL, OK, WARN, data
from mimtransfer.checks.config import check_config
from mimtransfer.checks.image_files import coco_images
from mimtransfer.cli import launch
from mimtransfer.errors import UserError

CASES = COCO | MAPS | CLASS_FOLDERS


def precheck(path, monkeypatch):
    """Return what `tools/train.py` would log as a warning, and the line with which it would stop."""
    logged = []
    monkeypatch.setattr(data, "print_log", lambda line, **_: logged.append(line), raising=False)
    cfg = launch.load_config(path, [])
    launch.set_launcher(cfg, "none")
    launch.enter_scope(cfg)
    try:
        data.check_data(cfg)
    except UserError as error:
        return logged, str(error)
    return logged, None


@pytest.mark.parametrize("name", CASES)
def test_doctor_and_precheck_agree(name, tmp_path, monkeypatch):
    case = CASES[name]
    made = case.data(tmp_path)
    case.change(made)
    path = made.write()
    found = list(check_config(path, [], None, 100))
    fails, warnings = ([f for f in found if f.level == level] for level in (FAIL, WARN))
    logged, stopped = precheck(path, monkeypatch)
    said = [str(f) for f in found]
    "".join([*said, *logged, stopped or ""]).encode()  # a log takes it
    if case.level == FAIL:
        assert any(case.says in f.what for f in fails), said
        assert stopped == fails[0].line and "\n" not in stopped and fails[0].fix, (stopped, said)
    else:
        assert not fails and stopped is None, (said, stopped)
        assert logged == [f.line for f in warnings]
        assert case.level == OK or any(case.says in f.what for f in warnings), said
        assert case.level == WARN or not warnings, said


@pytest.mark.parametrize("kind", sorted({case.data for case in CASES.values()}, key=lambda cls: cls.__name__))
def test_sound_data_have_nothing_to_say(kind, tmp_path, monkeypatch):
    path = kind(tmp_path).write()
    assert {f.level for f in check_config(path, [], None, 100)} == {OK}
    assert precheck(path, monkeypatch) == ([], None)


def test_a_link_to_nothing_is_found_beyond_the_sample(tmp_path):
    """Few files are decoded before a run; what is no file is found among all."""
    lost(tmp_path / "2.jpg")
    fifo(tmp_path / "3.jpg")
    picture().save(tmp_path / "1.jpg")
    names = ["1.jpg", "2.jpg", "3.jpg"]
    (found,) = coco_images(names, [(WIDTH, HEIGHT)] * 3, str(tmp_path), "x.json", 1, 0)
    assert found.level == FAIL and "2 of them are not in" in found.what and "the first is '2.jpg'" in found.what
