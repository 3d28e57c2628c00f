"""Labels, tasks and data sets come from configs; a run is resumed with the same tokenizer only."""
import pytest
from mmengine.config import Config

from mimtransfer.errors import UserError
from mimtransfer.results import description
from mimtransfer.results.description import check_tokenizer

IDENTITY = dict(type="StoredTokens", num_codes=8, sha256="ab" * 32, source=dict(type="VQKD", sha256="cd" * 32))
OTHER = {**IDENTITY, "sha256": "ef" * 32}
WITHOUT_FILE = dict(type="Brightness", num_codes=8, sha256=None, source="brightness")


@pytest.mark.parametrize(
    ("method", "strategy", "label"),
    [
        ("MAE", "RandomMasking", "MAE"),
        ("SimMIM", "FAMTMasking", "SimMIM + FAMT"),
        ("MFM", None, "MFM"),
        ("MAE", "BlockMasking", "MAE + Block"),
        ("BEiT", "BlockMasking", "BEiT"),
        ("BEiT", "RandomMasking", "BEiT + Random"),
    ],
)
def test_label(method, strategy, label):
    model = {"type": f"mimtransfer.{method}", "strategy": {"type": strategy} if strategy else None}
    assert description.method_of({"model": model}) == (method, strategy)
    assert description.label_of(method, strategy) == label


def test_label_of_a_corruption():
    for corruption, label in (("FrequencyMasking", "MFM"), ("Blur", "MFM + Blur")):
        names = description.method_of({"model": {"type": "MFM", "corruption": {"type": corruption}}})
        assert names == ("MFM", corruption) and description.label_of(*names) == label


def test_task():
    backbone = {"type": "TimmViT"}
    assert description.task_of({"model": {"backbone": backbone, "roi_head": {}}}) == "detection"
    assert description.task_of({"model": {"backbone": backbone, "bbox_head": {}}}) == "detection"
    assert description.task_of({"model": {"backbone": backbone, "decode_head": {}}}) == "segmentation"
    assert description.task_of({"model": {"encoder": backbone}}) == "pretrain"
    assert description.task_of({"model": {"roi_head": {}}, "task": "tracking"}) == "tracking"
    with pytest.raises(UserError, match=r"parts \['backbone', 'type'\]: set `task"):
        description.task_of({"model": {"type": "Odd", "backbone": backbone}})


def test_data_set_and_protocol_in_words(tmp_path):
    inner = {"type": "mimtransfer.ImageFolder", "data_root": "/mnt/camvid/"}
    cfg = {"train_dataloader": {"dataset": {"type": "RepeatDataset", "dataset": inner}}}
    assert description.dataset_of(cfg, 701) == "ImageFolder camvid, 701 images"
    assert description.protocol_of(Config({"protocol": "vitdet"}, filename=None)) == "vitdet"
    (tmp_path / "small.py").write_text("x = 1")
    assert description.protocol_of(Config.fromfile(tmp_path / "small.py")) == "small"
    assert description.protocol_of(Config({})) == "unnamed"


@pytest.mark.parametrize(
    "own, signed", [(IDENTITY, OTHER), (IDENTITY, None), (None, IDENTITY), (IDENTITY, WITHOUT_FILE)]
)
def test_resume_with_another_tokenizer(own, signed):
    check_tokenizer(own, own)
    with pytest.raises(UserError, match=r"was trained with (the|no) ") as error:
        check_tokenizer(own, signed)
    assert "\n" not in str(error.value)
