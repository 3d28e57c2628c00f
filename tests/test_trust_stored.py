"""What comes from a file is data, continued: token ids, map banks, records, jobs, logs, COCO json, names of images."""
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fabricate_records import pretrain, transfer
from mmengine.config import Config
from payloads import CALL, RECORDS, ROOT, Touch, checkpoint, put
from PIL import Image

import mimtransfer  # noqa: F401  before mmdet and mmseg
from mimtransfer.errors import UserError
from mimtransfer.registry import TOKENIZERS

pytest_plugins = ("payloads",)
pytestmark = pytest.mark.usefixtures("place")


def stored_ids(**change):
    """Write token ids, with some of the three files changed; return the config of their tokenizer."""
    os.makedirs("ids", exist_ok=True)
    about = dict(num_codes=8, sha256="0", tokenizer={"type": "X"}, view={}, num_images=3, images="0", grid=[2, 2])
    content = dict(ids=np.zeros((3, 2, 2), np.uint16), boxes=np.zeros((3, 4), np.float32), about=json.dumps(about))
    content |= {"about": json.dumps({**about, **change.pop("fields", {})})} | change
    for name in ("ids", "boxes"):
        path = Path("ids", f"{name}.npy")
        if isinstance(content[name], bytes):
            path.write_bytes(content[name])
        else:
            np.save(path, content[name], allow_pickle=True)
    Path("ids/ids.json").write_text(content["about"])
    return dict(type="StoredTokens", path="ids")


def test_good_ids_are_read():
    assert TOKENIZERS.build(stored_ids()).num_codes == 8


@pytest.mark.parametrize("change", [
    dict(ids=np.array([[[Touch()]]], dtype=object)), dict(boxes=np.array([Touch()] * 4, dtype=object)),
    dict(ids=b"\x93NUMPY\x01\x00v\x00" + b"(" * 118), dict(ids=b""), dict(ids=np.zeros((3, 2), np.uint16)),
    dict(ids=np.zeros((3, 2, 2))), dict(boxes=np.zeros((2, 4), np.float32)), dict(about="{"), dict(about="[" * 100_000),
    dict(about="[]"), dict(about='{"a": "\\ud800"}'), dict(fields=dict(num_codes=10**18)),
    dict(fields=dict(num_codes="8")), dict(fields=dict(view=CALL["cmd"])), dict(fields=dict(images=None)),
    dict(about='{"num_codes": %s}' % ("9" * 5000)),
])  # fmt: skip
def test_what_are_no_ids(change):
    with pytest.raises(UserError) as error:
        TOKENIZERS.build(stored_ids(**change))
    assert "ids/" in str(error.value) and "\n" not in str(error.value)


def test_an_id_beyond_the_codes_is_refused():
    from pretrain.aug_record import AugRecord

    tokens = TOKENIZERS.build(stored_ids(ids=np.full((3, 2, 2), 8, np.uint16)))
    values = dict(index=torch.zeros(1, dtype=torch.int64), box=torch.zeros(1, 4), flip=torch.zeros(1, dtype=torch.bool))
    record = AugRecord(**{name: values.get(name, torch.zeros(1)) for name in AugRecord._fields})
    with pytest.raises(UserError, match="the id 8, expected less than num_codes=8"):
        tokens.encode(torch.zeros(1, 3, 8, 8), record)


@pytest.mark.parametrize(("content", "says"), [
    (np.array([[[Touch()]]], dtype=object), "cannot be read"), (np.zeros((3, 2, 3), np.float16), "[3, 2, 3]"),
    (np.zeros((2, 2, 2), np.float16), "[2, 2, 2]"), (np.zeros((3, 2, 2)), "float64"), (b"\x93NUMPY", "cannot be read"),
    (np.full((3, 2, 2), np.nan, np.float16), "NaN"), (None, "named pipe"),
])  # fmt: skip
def test_what_is_no_map_bank(content, says):
    from pretrain.masking.bank import MapBank

    if content is None:
        os.mkfifo("bank.npy")
    elif isinstance(content, bytes):
        Path("bank.npy").write_bytes(content)
    else:
        np.save("bank.npy", content, allow_pickle=True)
    with pytest.raises(UserError) as error:
        MapBank.open("bank.npy", 3, (2, 2)).check_finite()
    assert says in str(error.value) and "bank.npy" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", RECORDS)
def test_what_is_no_record(text, refusal):
    Path("run").mkdir()
    Path("run/result.json").write_text(text)
    assert "result.json" in refusal("table", "run")


@pytest.mark.parametrize("field", ["seed", "cost.images_per_s", "metrics.box_ap.value", "schedule.iters"])
def test_huge_integers_in_a_record(field, refusal):
    record = transfer("det", "detection", pretrain("mae"), box_ap=30.0)
    put(field, 10**400)(record)
    Path("run").mkdir()
    Path("run/result.json").write_text(json.dumps(record))
    assert "an integer of 401 digits" in refusal("table", "run")


def test_pipes_instead_of_records(refusal):
    Path("run").mkdir()
    os.mkfifo("run/result.json")
    assert "named pipe" in refusal("table", "run")
    Path("run/result.json").unlink()
    Path("run/result.json").symlink_to("/dev/zero")
    assert "device" in refusal("table", "run")


def test_a_record_runs_no_config():
    from mimtransfer.results.record import write_record
    from mimtransfer.results.verify import report, verify

    record = pretrain("mae")
    Path("evil_config.py").write_text("open('witness', 'w')\n")
    record["files"] = {"checkpoint": None, "config": {"path": "../evil_config.py", "sha256": "0" * 64}, "log": None}
    write_record(record, "run")
    assert "cannot be read as a config any more" in report(verify(["run"])[0])


def study_here():
    """A suite whose jobs work in this folder."""
    from mimtransfer.suites.state import Study

    study = Study.__new__(Study)
    study.suite = SimpleNamespace(folder=lambda name: Path())
    return study


@pytest.mark.parametrize("text", [*RECORDS, '{"parts": [], "fingerprint": "x"}', '{"parts": {"run": [1]}}'])
def test_what_is_no_state_of_a_job(text):
    Path("job.json").write_text(text)
    Path("cell.json").write_text(text)
    assert study_here()._begun(SimpleNamespace(name="a")) is None


def test_the_failure_of_a_job_is_one_line():
    Path("job.json").write_text(json.dumps({"parts": {}, "fingerprint": "", "failed": "a\n\x1b[2J\nb" * 1000}))
    failed = study_here()._begun(SimpleNamespace(name="a"))["failed"]
    assert "\n" not in failed and len(failed) == 300


JOBS = [*RECORDS[:10], '{"a": "1; touch witness"}', '{"a": "--help"}', '{"a": 3}', '{"a": null}']


@pytest.mark.parametrize("text", JOBS)
def test_what_are_no_jobs(text):
    from mimtransfer.suites.slurm import _queued_ids

    Path("jobs.json").write_text(text)
    with pytest.raises(UserError, match=r"jobs\.json") as error:
        _queued_ids(Path())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [*RECORDS, '{"layout": 1, "entries": []}', '{"layout": 1, "entries": {"a": 3}}',
                                  '{"layout": 1, "entries": {"a": {"value": 1, "files": 3}}}'])
def test_a_broken_cache_is_empty(text):
    from mimtransfer.suites.inputs import StatCache

    Path("cache.json").write_text(text)
    assert StatCache("cache.json").get("a", lambda: (5, [])) == 5


def test_lines_of_a_log_that_are_none():
    from mimtransfer.results.measurement import read_curves

    Path("run/1/vis_data").mkdir(parents=True)
    lines = [*(text for text in RECORDS if "\x00" not in text), '{"iter": "x", "loss": 1}', '{"iter": 1, "loss": "x"}',
             '{"iter": [], "step": {}}', '{"iter": 2, "loss": 0.5, "step": 2}']
    Path("run/1/vis_data/scalars.json").write_text("\n".join(lines))
    assert read_curves("run", {"epochs": None, "iters": 4}) == {"loss": [[2, 0.5]]}
    Path("run/2/vis_data").mkdir(parents=True)
    os.mkfifo("run/2/vis_data/scalars.json")
    assert read_curves("run", {"epochs": None, "iters": 4}) == {"loss": [[2, 0.5]]}


def coco_config():
    dataset = dict(type="CocoDataset", data_root=".", ann_file="coco.json", data_prefix=dict(img=""),
                   metainfo=dict(classes=("cell",)))
    return Config(dict(task="detection", train_dataloader=dict(dataset=dataset), model=dict()))


def coco(**change):
    image = dict(id=1, file_name="image.png", width=32, height=32)
    box = dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 9, 9], area=81, iscrowd=0)
    return json.dumps(dict(images=[image], annotations=[box], categories=[dict(id=1, name="cell")]) | change)


NAMES = ["$(touch witness).png", "; touch witness;.png", "`touch witness`.png", "a\nerror: b.png", "-rf.png",
         "%n{0}.png", "\x1b[2J.png"]


@pytest.mark.parametrize("text", [
    coco(images=[dict(id=1, file_name=name)]) for name in NAMES] + [
    coco(images=[dict(id=1, file_name=CALL)]), coco(images=[dict(id=1, file_name=None)]),
    coco(images=[dict(id=1, file_name="a\0b")]), coco(images=[dict(id=1)]), coco(images=3), coco(images=["x"]),
    coco(categories=[dict(id=1, name=["cell"])]), coco(categories=[dict(id=1)]), coco(categories={"cell": 1}),
    coco(annotations=[3]), coco(annotations={"type": "os.system"}), *RECORDS[:7], RECORDS[-1],
])  # fmt: skip
def test_what_is_no_coco_json(text):
    from mimtransfer.checks.data import check_data

    Path("coco.json").write_text(text)
    with pytest.raises(UserError, match=r"coco\.json") as error:
        check_data(coco_config(), splits=("train",))
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_a_good_coco_json_passes():
    from mimtransfer.checks.data import check_data

    Path("coco.json").write_text(coco())
    check_data(coco_config(), splits=("train",))


def test_names_of_images_are_names(monkeypatch, capfd):
    import runpy

    for name in NAMES:
        Image.new("RGB", (40, 32)).save(Path(name.replace("/", "")), "PNG")
    monkeypatch.setattr(sys, "argv", ["visualize", checkpoint(), ".", "--out", "$(touch witness).png"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(str(ROOT / "tools/visualize.py"), run_name="__main__")
    assert Path("$(touch witness).png").stat().st_size > 1000 and "written" in capfd.readouterr().out
