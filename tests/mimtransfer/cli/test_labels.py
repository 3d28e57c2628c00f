"""label_share, label_shots and label_seed: which part of which config they change."""
from pathlib import Path

import pytest

from mimtransfer.cli.launch import load_config
from mimtransfer.datasets.label_subset import label_subsets
from mimtransfer.errors import UserError
from mimtransfer.planning.schedule import images_of_epoch
from mimtransfer.results.fingerprint import fingerprint, protocol_config

ROOT = Path(__file__).parents[3] / "configs"
TREES = ["segmentation/upernet_vit-base_160k_ade20k-512x512.py", "detection/mask-rcnn_vitdet_vit-base_100e_coco.py",
         "segmentation/upernet_vit-tiny_camvid-cpu.py", "detection/faster-rcnn_vit-tiny_bccd-cpu.py",
         "detection/dino_vitdet_vit-base_12e_coco.py"]
SEG = TREES[2]
SWEEP = "classification/linear-sweep_vit-tiny-p4_cifar100.py"
TUNED = "classification/finetune_vit-tiny-p4_100e_cifar100.py"


def load(leaf, *options):
    return load_config(str(ROOT / leaf), list(options))


@pytest.mark.parametrize("leaf", TREES)
def test_any_tree_by_one_option(leaf):
    whole, part = load(leaf), load(leaf, "label_share=0.02", "label_seed=3")
    for key in ("val_dataloader", "test_dataloader", "model", "train_cfg", "optim_wrapper"):
        assert part[key] == whole[key]
    wrapped = part.train_dataloader.dataset
    assert part.protocol == f"{whole.protocol}, 2 % of the labels"
    assert dict(wrapped, dataset=None) == dict(type="mimtransfer.LabelSubset", share=0.02, seed=3, dataset=None)
    assert wrapped.dataset == whole.train_dataloader.dataset
    assert load(leaf, "label_shots=10").train_dataloader.dataset.shots == 10


def test_each_part_of_joined_data_is_shared_out(tmp_path):
    (tmp_path / "joined.py").write_text(f"""
_base_ = [{str(ROOT / SEG)!r}]
_part = dict(type='BaseSegDataset', data_root='one', pipeline=[])
train_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=3, dataset=dict(
    type='ConcatDataset', datasets=[_part, dict(_part, data_root='two')])))
label_share = 0.1
""")
    parts = load_config(str(tmp_path / "joined.py"), []).train_dataloader.dataset.dataset.datasets
    assert [(part.type, part.share, part.seed, part.dataset.data_root) for part in parts] == [
        ("mimtransfer.LabelSubset", 0.1, 0, "one"), ("mimtransfer.LabelSubset", 0.1, 0, "two")]  # fmt: skip


@pytest.mark.parametrize(("leaf", "place"), [(SWEEP, "test_cfg.memory_dataloader.dataset"),
                                             (TUNED, "train_dataloader.dataset")])  # fmt: skip
def test_classification_has_subsets_of_its_own(leaf, place):
    whole, part = load(leaf), load(leaf, "label_share=0.1", "label_seed=2")
    dataset = part
    for key in place.split("."):
        dataset = dataset[key]
    assert (dataset.type, dataset.fraction, dataset.seed) == ("TorchvisionCIFAR", 0.1, 2)
    assert part.protocol == f"{whole.protocol}, 10 % of the labels"
    shots = load(leaf, "label_shots=5")
    assert shots.protocol == f"{whole.protocol}, 5 shots"


def test_all_labels_are_the_config_itself():
    assert load(SEG, "label_share=1", "label_seed=4").to_dict() == load(SEG).to_dict()
    assert load(SEG, "label_share=1.0").to_dict() == load(SEG).to_dict()


def test_no_two_subsets_share_a_fingerprint():
    options = [[], ["label_share=0.1"], ["label_share=0.1", "label_seed=1"], ["label_share=0.2"], ["label_shots=1"],
               ["label_shots=1", "label_seed=1"], ["label_shots=2"]]  # fmt: skip
    for leaf in (SEG, TREES[3], SWEEP):
        evaluated = "test" if leaf == SWEEP else "val"
        found = [fingerprint(protocol_config(load(leaf, *words), evaluated)) for words in options]
        assert len(set(found)) == len(options)
    # Not given is 0, written out.
    first, same = (protocol_config(load(SEG, "label_share=0.1", *words)) for words in ([], ["label_seed=0"]))
    assert first == same


@pytest.mark.parametrize(("leaf", "message"), [
    ("pretrain/mae_vit-demo_scenes.py", "for configs that learn from labels"),
    ("classification/knn_vit-tiny-p4_cifar10.py", "the training data are a subset already"),
    ("classification/linear-sweep_vit-base_in1k-1pct.py", "the training data are a subset already"),
])  # fmt: skip
def test_refuses_what_has_no_labels_or_a_subset(leaf, message):
    with pytest.raises(UserError, match=message):
        load(leaf, "label_share=0.1")


def test_refuses_a_subset_within_a_wrapper(tmp_path):
    (tmp_path / "repeated.py").write_text(f"""
_base_ = [{str(ROOT / SEG)!r}]
train_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=3, dataset=dict(
    type='mimtransfer.LabelSubset', share=0.1, dataset=dict(type='BaseSegDataset', data_root='one', pipeline=[]))))
""")
    with pytest.raises(UserError, match="the training data are a subset already"):
        load_config(str(tmp_path / "repeated.py"), ["label_share=0.1"])


def test_refuses_a_subset_within_joined_data(tmp_path):
    (tmp_path / "joined.py").write_text(f"""
_base_ = [{str(ROOT / SEG)!r}]
_part = dict(type='BaseSegDataset', data_root='one', pipeline=[])
train_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=[
    _part, dict(type='mimtransfer.LabelSubset', share=0.5, dataset=_part)]))
""")
    with pytest.raises(UserError, match="the training data are a subset already"):
        load_config(str(tmp_path / "joined.py"), ["label_share=0.1"])


@pytest.mark.parametrize("leaf", [SEG, TUNED])
def test_what_a_resume_compares(leaf):
    """Fine-tuning of classifiers, too: its subset is that of its data set."""
    assert label_subsets(load(leaf)) == []
    assert label_subsets(load(leaf, "label_share=0.1", "label_seed=2")) == ["10 % of the labels by seed 2"]
    assert label_subsets(load(leaf, "label_shots=5")) == ["5 shots by seed 0"]


def test_a_plan_does_not_take_the_whole_for_a_part():
    """COCO is not here, so its published size is taken, for all of it only."""
    leaf = "detection/mask-rcnn_resnet50-fpn_1x_coco.py"
    whole, part = (images_of_epoch(load(leaf, *options)) for options in ([], ["label_share=0.1"]))
    assert whole == (117266, "the published coco") and part is None
