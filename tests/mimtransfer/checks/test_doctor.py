"""Doctor: versions against their bounds, and operators that compute something else."""
import configparser
from pathlib import Path

import pytest
from bad_data import Boxes, Classes, Maps, cut
from own_tool import call_tool

import mimtransfer  # noqa: F401  supplies mmcv's operators
from mimtransfer.checks import FAIL, OK, config
from mimtransfer.checks import environment as doctor


@pytest.mark.parametrize("text, numbers", [("2.11.0+cu126", (2, 11, 0)), ("2.2.0rc4", (2, 2, 0)), ("1.1", (1, 1))])
def test_version_numbers(text, numbers):
    assert doctor._numbers(text) == numbers


@pytest.mark.parametrize("version, level, text", [
    ("1.2.3", OK, "json 1.2.3"),
    ("1.1", FAIL, "json 1.1, expected >= 1.2 and < 2"),
    ("2.0", FAIL, "json 2.0, expected >= 1.2 and < 2"),
    (None, FAIL, "json is not installed"),
])
def test_a_package_against_its_bounds(monkeypatch, version, level, text):
    monkeypatch.setattr(doctor, "_version", lambda package: version)
    finding = doctor.check_package("json", "json", "1.2", "2")
    assert (finding.level, finding.what) == (level, text)
    assert level == OK or finding.fix == "pip install 'json>=1.2,<2'"


def test_a_package_that_does_not_import(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda package: "1.5")
    finding = doctor.check_package("json", "no_such_module", "1", None)
    assert finding.level == FAIL and "ModuleNotFoundError: No module named 'no_such_module'" in finding.what


@pytest.mark.parametrize("installed, level, text", [
    ({"mmcv-lite": "2.1.0"}, OK, "mmcv-lite 2.1.0"),
    ({"mmcv": "2.1.0"}, OK, "mmcv 2.1.0"),
    ({"mmcv": "2.2.0"}, FAIL, "accept 2.1 only"),
    ({"mmcv": "2.1.0", "mmcv-lite": "2.1.0"}, FAIL, "overwrites"),
    ({}, FAIL, "neither"),
])
def test_mmcv(monkeypatch, installed, level, text):
    monkeypatch.setattr(doctor, "_version", installed.get)
    finding = doctor._mmcv()
    assert finding.level == level and text in finding.what


def test_the_bounds_are_those_of_the_package():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[3] / "setup.cfg")
    lines = setup["options"]["install_requires"].split()
    declared = {line.split("<")[0].split(">")[0]: line for line in lines}
    for package, _, low, high in doctor._PACKAGES:
        assert f">={low}" in declared[package] and (high is None or f"<{high}" in declared[package]), package


def test_operators_on_the_cpu_and_one_that_is_wrong(monkeypatch):
    assert [f.level for f in doctor.check_operators(["cpu"])] == [OK] * 5
    monkeypatch.setitem(doctor._OPERATORS, "nms", lambda device: False)
    monkeypatch.setitem(doctor._OPERATORS, "roi_align", lambda device: 1 / 0)
    found = list(doctor.check_operators(["cpu"]))
    assert [f.level for f in found] == [OK, FAIL, FAIL, OK, OK]
    assert found[1].what == "nms on cpu computes something else" and "ZeroDivisionError" in found[2].what


@pytest.mark.parametrize("kind, broken", [(Boxes, "train/12.jpg"), (Maps, "img/train/t2.jpg"), (Maps, "map/val/v1.png"),
                                          (Classes, "train/bee/1.png")])
@pytest.mark.parametrize("options, status", [(["--maps", "1"], 0), (["--all"], 1)])
def test_all_files_are_decoded_on_demand(kind, broken, options, status, tmp_path, monkeypatch, capsys):
    data = kind(tmp_path)
    cut(tmp_path / broken)
    for name in ("check_versions", "check_devices", "check_operators"):
        monkeypatch.setattr(doctor, name, lambda *args: ())
    monkeypatch.setattr(config, "setting_findings", lambda cfg: ())  # these toys are no whole configs
    found = call_tool("doctor", data.write(), *options)
    said = capsys.readouterr().out
    assert found == status and (Path(broken).name in said) == bool(status), said
