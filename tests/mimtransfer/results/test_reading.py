"""How images were read: in the start-up log and the record of pretraining and classification, in no fingerprint."""
import json

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from record_toys import pretraining, train

from mimtransfer.errors import UserError
from mimtransfer.registry import DATASETS
from mimtransfer.results import provenance
from mimtransfer.results.fingerprint import fingerprint, protocol_config
from mimtransfer.results.record import read_record
from pretrain.data.decoding import turbo
from pretrain.runner import register_all

CROP = dict(type="RandomResizedCropFlip", size=16)


class Loop:
    def __init__(self, dataset):
        self.dataloader = type("Loader", (), {"dataset": dataset})


@pytest.fixture
def folder(tmp_path):
    register_all()
    for number in range(4):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
    (tmp_path / "list.txt").write_text("images/a/0.png\nimages/b/1.png\n")
    return tmp_path


def reading(folder, **config):
    images = DATASETS.build({key: str(folder / value) if key in ("root", "source", "list_file") else value
                             for key, value in config.items()})
    return tuple(provenance.reading(Loop(images)).values())


def test_what_is_in_force(folder, monkeypatch):
    auto = "turbo" if turbo.decode_jpeg else "pillow"
    assert reading(folder, type="ImageFolder", root="images", transform=CROP) == ("folder", auto)
    monkeypatch.setattr(turbo, "decode_jpeg", None)
    assert reading(folder, type="ImageFolder", root="images", transform=CROP) == ("folder", "pillow")
    assert reading(folder, type="ImageFolder", list_file="list.txt", root=".", transform=CROP) == ("list", "pillow")
    assert reading(folder, type="ImageSource", source="list.txt", transform=CROP) == ("list", "pillow")
    assert reading(folder, type="ImageSource", source="images", transform=CROP, in_chans=1) == ("folder", "bands")
    assert reading(folder, type="ClassFolder", root="images") == ("folder", "pillow")
    assert reading(folder, type="LabelledImageSource", source="images") == ("folder", "pillow")


def test_of_wrappers_and_of_others(folder):
    images = DATASETS.build(dict(type="ClassFolder", root=str(folder / "images")))
    wrapped = type("Subset", (), {"dataset": type("Subset", (), {"dataset": images})})
    assert provenance.reading(Loop(wrapped)) == {"source": "folder", "decoder": "pillow"}
    assert provenance.reading(Loop([1, 2])) is None and provenance.reading(None) is None


def test_no_part_of_the_protocol():
    """The decoders show the same boxes."""
    marks = set()
    for decoder, source in (("turbo", "/a.tar"), ("pillow", "s3://b/c.parquet")):
        dataset = dict(type="ImageSource", source=source, decoder=decoder, transform=CROP)
        marks.add(fingerprint(protocol_config(Config(dict(train_dataloader=dict(batch_size=1, dataset=dataset))))))
    assert len(marks) == 1


def test_records_without_it_are_read(tmp_path):
    train(pretraining(tmp_path))
    path = tmp_path / "result.json"
    record = json.loads(path.read_text())
    assert record["reading"] is None  # of a data set that does not say it
    del record["reading"]
    path.write_text(json.dumps(record))
    assert read_record(path)["run_id"] == record["run_id"]
    record["reading"] = "turbo"
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="field 'reading' is 'turbo', expected an object or null"):
        read_record(path)


def test_images_that_others_took_the_place_of_are_named(folder):
    for name in ("a/0.png", "b/3.png"):
        (folder / "images" / name).write_bytes(b"no picture")
    images = DATASETS.build(dict(type="ImageFolder", root=str(folder / "images"), transform=CROP, max_corrupt=2))
    wrapped = Loop(type("Subset", (), {"dataset": images}))
    assert provenance.unreadable(wrapped) == []
    for index in range(4):
        images[index]
    assert provenance.unreadable(wrapped) == [str(folder / "images/a/0.png"), str(folder / "images/b/3.png")]
    assert provenance.unreadable(Loop([1, 2])) == [] and provenance.unreadable(None) == []
