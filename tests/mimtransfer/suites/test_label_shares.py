"""The suite of label shares: what each of its jobs trains with, and the seed of a job in its options."""
from pathlib import Path

import pytest

from mimtransfer.errors import UserError
from mimtransfer.results.fingerprint import fingerprint
from mimtransfer.suites.inputs import Inputs, StatCache
from mimtransfer.suites.suite import load_suite

ROOT = Path(__file__).resolve().parents[3]
SUITE = ROOT / "configs/suites/label-shares_coco-ade20k.py"


@pytest.fixture(scope="module")
def protocols(tmp_path_factory):
    """Return job -> its config and protocol, of the jobs from one pretraining with these seeds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        suite = load_suite(str(SUITE), seeds=[0, 7])
        inputs = Inputs(ROOT, StatCache(tmp_path_factory.mktemp("suite") / "cache.json"))
        return {name: (inputs.config(job), inputs.protocol(job)) for name, job in suite.jobs.items() if "_mae-" in name}


def test_each_job_learns_from_its_part_by_its_schedule(protocols):
    sizes = {"ade20k_1": 0.01, "ade20k_10": 0.1, "coco_5": 0.05, "coco_10shot": 10, "coco_30shot": 30}
    for task, size in sizes.items():
        for seed in (0, 7):
            config, flat = protocols[f"{task}_mae-seed{seed}"]
            kind = "shots" if task.endswith("shot") else "share"
            wrapped = config["train_dataloader"]["dataset"]
            assert (wrapped["type"], wrapped[kind], wrapped["seed"]) == ("mimtransfer.LabelSubset", size, seed)
            assert flat["train_dataloader.dataset.seed"] == seed
            iters = config["train_cfg"]["max_iters"]
            assert config["train_cfg"]["val_interval"] == config["param_scheduler"][1]["end"] == iters
            assert config["param_scheduler"][0]["end"] < iters / 6  # the warm-up is whole
            if task.startswith("coco"):
                milestones = config["param_scheduler"][1]["milestones"]
                assert [round(step / iters, 3) for step in milestones] == [0.889, 0.963]
    assert protocols["coco_1_mae-seed0"][0]["protocol"] == "ViTDet Mask R-CNN, COCO, 1 % of the labels"
    assert protocols["coco_10shot_mae-seed0"][0]["protocol"] == "ViTDet Mask R-CNN, COCO, 10 shots"


def test_two_seeds_share_a_fingerprint_only_where_all_labels_are_there(protocols):
    found = {}
    for name, (_, flat) in protocols.items():
        found.setdefault(fingerprint(flat), set()).add(name)
    alike = {frozenset(names) for names in found.values() if len(names) > 1}
    assert alike == {frozenset(f"{task}_100_mae-seed{seed}" for seed in (0, 7)) for task in ("ade20k", "coco")}
    assert len(found) == len(protocols) - 2 >= 20


def test_all_labels_by_the_published_schedule(protocols):
    for task, iters, name in (("ade20k_100", 160_000, "UperNet, ADE20K 512"),
                              ("coco_100", 184_375, "ViTDet Mask R-CNN, COCO")):  # fmt: skip
        config, _ = protocols[f"{task}_mae-seed7"]
        assert config["train_cfg"]["max_iters"] == iters and config["protocol"] == name
        assert not config["train_dataloader"]["dataset"]["type"].endswith("LabelSubset")
        batch = config["train_dataloader"]["batch_size"] * 8
        assert batch == config["auto_scale_lr"]["base_batch_size"]


def test_seed_in_an_option(tmp_path):
    path = tmp_path / "suite.py"
    text = "seeds = [3]\npretrainings = dict(random=None)\ntasks = dict(a=dict(config='c.py', options=%s))\n"
    path.write_text(text % {"label_seed": "{seed}", "protocol": "draw {seed}", "plain": 2})
    (job,) = load_suite(str(path)).jobs.values()
    assert job.options == {"label_seed": 3, "protocol": "draw 3", "plain": 2} and job.after == ()
    path.write_text("pretrainings = dict(seed=None)\n")
    with pytest.raises(UserError, match=r"\{seed\} in an option is the seed of the job; give the entry another name"):
        load_suite(str(path))
