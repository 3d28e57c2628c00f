"""A share of the labels from the command line to the record, and mistakes."""
from pathlib import Path

import pytest
from own_tool import record

from mimtransfer.cli.launch import load_config
from mimtransfer.datasets.scenes.write import SceneSet, make_scenes
from mimtransfer.results.fingerprint import fingerprint, protocol_config

ROOT = Path(__file__).parents[2]
DET = str(ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py")
SEG = str(ROOT / "configs/segmentation/upernet_vit-demo_scenes.py")
SHORT = [
    "train_cfg.max_iters=1", "train_cfg.val_interval=1", "default_hooks.checkpoint.interval=1",
    "train_dataloader.batch_size=2", "train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False",
    "val_dataloader.num_workers=0", "test_dataloader.num_workers=0",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with data/scenes."""
    out = tmp_path_factory.mktemp("labels")
    counts = {"train": 8, "val": 2, "unlabelled": 0}
    make_scenes(out / "data/scenes", SceneSet(counts=counts), workers=1, progress=False)
    return out


def test_from_one_option_to_the_record_and_its_config(call, capsys):
    options = ["label_share=0.25", "label_seed=1"]
    assert not call("train", SEG, "--work-dir", "seg", "--cfg-options", *SHORT, *options)
    log = "".join(path.read_text() for path in Path("seg").glob("*/*.log"))
    assert "25 % of the labels, drawn by seed 1: 2 of 8 images" in log
    found = record("seg")
    config = found["protocol"]["config"]
    assert found["protocol"]["name"] == "UperNet, scenes, 25 % of the labels"
    assert config["train_dataloader.dataset.share"] == 0.25 and config["train_dataloader.dataset.seed"] == 1
    assert config["train_dataloader.dataset.dataset.type"] == "BaseSegDataset"
    assert set(found["data_fingerprint"]) == {"train", "eval"} and found["dataset"].startswith("BaseSegDataset scenes")
    # The config of the work dir says it all: read again, it is the same subset, once, under the same name.
    again = load_config(f"seg/{Path(SEG).name}", [])
    assert fingerprint(protocol_config(again)) == found["protocol"]["fingerprint"]
    assert again.protocol == found["protocol"]["name"] and not {"label_share", "label_seed"} & set(again)
    # Weights that have seen other images are none of the subset that a resume would be recorded under.
    for others, said in ((["label_share=0.5"], "50 % of the labels by seed 0"), (["label_share=1"], "all labels")):
        resume = ["--work-dir", "seg", "--resume", "--cfg-options", *SHORT, "train_cfg.max_iters=2", *others]
        capsys.readouterr()
        assert call("train", SEG, *resume) == 2
        assert f"learned from 25 % of the labels by seed 1, this run from {said}" in capsys.readouterr().err
    assert record("seg") == found
    resume = ["--work-dir", "seg", "--resume", "--cfg-options", *SHORT, "train_cfg.max_iters=2", *options]
    assert not call("train", SEG, *resume)


def test_shots_of_boxes(call):
    options = ["label_shots=1", "label_seed=5"]
    assert not call("train", DET, "--work-dir", "det", "--cfg-options", *SHORT, *options)
    found = record("det")["protocol"]
    config = found["config"]
    assert found["name"] == "Mask R-CNN, scenes, 1 shot"
    assert (config["train_dataloader.dataset.shots"], config["train_dataloader.dataset.seed"]) == (1, 5)


@pytest.mark.parametrize(("options", "message"), [
    (["label_share=10"], "label_share: the share of the labels is 10, expected a number in (0, 1], 0.1 for 10 %"),
    (["label_shots=0"], "the number of shots is 0"),
    (["label_share=0.1", "label_shots=1"], "got label_share=0.1 and label_shots=1, expected one of them"),
    (["label_seed=1"], "label_seed=1 without a subset: set label_share or label_shots, too"),
    (["label_share=0.1", "label_seed=x"], "the seed of the subset is 'x', expected an integer"),
    (["label_shares=0.1"], "did you mean 'label_share'"),
    (["label_share=0.1", "train_dataloader.dataset.indices=2"], "the training data are a subset already"),
])  # fmt: skip
def test_mistakes_give_one_line(call, capsys, options, message):
    assert call("train", SEG, "--work-dir", "refused", "--cfg-options", *options) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]
    assert not Path("refused").exists()


def test_overfit_chooses_its_own_images(call, capsys):
    options = ["--work-dir", "refused", "--overfit", 2, "--cfg-options", "label_share=0.5"]
    assert call("train", SEG, *options) == 2
    assert "--overfit 2 chooses its own images; leave out label_share and label_shots" in capsys.readouterr().err
