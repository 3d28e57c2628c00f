"""The schema of result.json: what is wrong is named, with its file."""
import copy
import json
import os

import pytest
from fabricate_records import init_from, pretrain, transfer

from mimtransfer.errors import UserError
from mimtransfer.results.record import find_records, read_record, validate, write_record


def without(field):
    def apply(record):
        *parents, name = field.split(".")
        for parent in parents:
            record = record[parent]
        del record[name]

    return apply


def put(field, value):
    def apply(record):
        *parents, name = field.split(".")
        for parent in parents:
            record = record[parent]
        record[name] = value

    return apply


BROKEN = {
    "no schema": (without("schema"), "not a result record"),
    "older": (put("schema", 0), "schema version 0, this mimtransfer reads versions 1 and 2"),
    "newer": (put("schema", 3), "schema version 3, this mimtransfer reads versions 1 and 2"),
    "no label": (without("label"), "field 'label' is missing"),
    "no part": (without("cost"), "field 'cost' is missing"),
    "no inner": (without("cost.wall_s"), "field 'cost.wall_s' is missing"),
    "no arch": (without("backbone.arch"), "field 'backbone.arch' is missing"),  # a plan read it
    "type": (put("cost.wall_s", "long"), "field 'cost.wall_s' is 'long', expected a number or null"),
    "true": (put("cost.processes", True), "field 'cost.processes' is True, expected an integer"),
    "infinite": (put("cost.images_per_s", float("inf")), "field 'cost.images_per_s' is inf, expected a number or null"),
    "null": (put("label", None), "field 'label' is None, expected text"),
    "kind": (put("kind", "probe"), "field 'kind' is 'probe', expected one of pretrain, transfer"),
    "report": (without("init.sha256"), "field 'init.sha256' is missing"),
    "metric": (put("metrics.box_ap", 31.2), "metric 'box_ap' is 31.2, expected a finite 'value' and a 'unit'"),
    "not finite": (put("metrics.box_ap", {"value": float("nan"), "unit": "points"}), "metric 'box_ap'"),
    "forged": (put("protocol.config", {"lr": 1}), "does not match its fingerprint: the file was changed by hand"),
    "commit": (put("git", {}), "field 'git.commit' is missing"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_named(name):
    spoil, message = BROKEN[name]
    record = transfer("t", "detection", pretrain("p"), box_ap=31.2)
    validate(record)
    spoil(record)
    with pytest.raises(UserError) as error:
        validate(record, "runs/a/result.json")
    assert str(error.value).startswith("runs/a/result.json: ") and message in str(error.value)
    assert "\n" not in str(error.value)


def test_outside_git_and_without_a_gpu_is_valid():
    record = transfer("t", "detection", box_ap=1.0)
    record["git"] = None
    record["cost"].update(images_per_s=None, wall_s=None, peak_memory_bytes=None, device=None, effective_batch=None)
    validate(record)


@pytest.mark.parametrize("content", [b'{"schema": 1, ', b"", b"\xff\xfe\x00", b"[1]", b"3"])
def test_broken_files_are_named(tmp_path, content):
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"result\.json: (not valid JSON|cannot be read|not a result record)"):
        read_record(path)


def test_writing_is_one_step(tmp_path, monkeypatch):
    record = transfer("t", "detection", pretrain("p"), box_ap=31.2)
    path = write_record(record, tmp_path / "new")
    assert read_record(path) == record == json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o644

    changed = copy.deepcopy(record)
    changed["label"] = "other"
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_record(changed, tmp_path / "new")
    assert read_record(path) == record
    assert [entry.name for entry in path.parent.iterdir()] == ["result.json"]
    with pytest.raises(UserError):
        write_record({"schema": 1}, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_find_records(tmp_path):
    for name in ("b/result.json", "a/deep/result.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "empty").mkdir()
    found = list(find_records([tmp_path / "b", tmp_path, tmp_path / "b/result.json"]))
    assert found == [tmp_path / "b/result.json", tmp_path / "a/deep/result.json"]
    with pytest.raises(UserError, match=r"empty: holds no result\.json"):
        list(find_records([tmp_path / "empty"]))
    with pytest.raises(UserError, match="gone: no such file or folder"):
        list(find_records([tmp_path / "gone"]))


def test_fabricated_init_names_its_pretraining():
    assert init_from(pretrain("p"))["pretraining"]["run_id"] == "p"
