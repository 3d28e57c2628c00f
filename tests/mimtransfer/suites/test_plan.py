"""Costs of jobs from earlier records, and how long a plan takes."""
import json
import os
from types import SimpleNamespace

import pytest
from fabricate_records import pretrain, transfer

from mimtransfer.results.fingerprint import protocol_config
from mimtransfer.suites.plan import estimate, makespan, plan, read_costs
from mimtransfer.suites.state import State
from mimtransfer.suites.suite import Job

CONFIG = {
    "model": {"type": "MAE", "encoder": {"type": "TimmViT", "arch": "vit_tiny"}},
    "train_cfg": {"max_epochs": 24},
    "train_dataloader": {"batch_size": 8, "dataset": {"type": "ImageFolder"}},
}
FLAT = protocol_config(CONFIG)
JOB = Job("mae-seed0", "pretrain")


def costs(tmp_path, *records, walls):
    for i, (record, wall) in enumerate(zip(records, walls)):
        record["cost"]["wall_s"] = wall
        place = tmp_path / f"{i}/deep"
        place.mkdir(parents=True)
        (place / "result.json").write_text(json.dumps(record))
    (tmp_path / "0/notes.json").write_text("[1]")
    return read_costs([tmp_path, tmp_path / "nowhere"])


def test_the_same_config(tmp_path):
    records = costs(tmp_path, *(pretrain(f"r{i}", config=FLAT) for i in range(3)), pretrain("other"),
                    walls=[50.0, 70.0, 99.0, 5.0])  # fmt: skip
    assert estimate(records, JOB, CONFIG, FLAT) == (70.0, "same config")


def test_the_same_model_and_data_for_half_as_long(tmp_path):
    other = protocol_config({**CONFIG, "train_cfg": {"max_epochs": 12}, "optim_wrapper": {"optimizer": {"lr": 1.0}}})
    records = costs(tmp_path, pretrain("r", config=other), walls=[60.0])
    assert estimate(records, JOB, CONFIG, FLAT) == (pytest.approx(120.0), "like MAE")


def test_nothing_alike(tmp_path):
    larger = {**pretrain("r", config=protocol_config({**CONFIG, "train_cfg": {}}))}
    larger["backbone"] = {"type": "TimmViT", "arch": "vit_base"}
    known = costs(tmp_path, larger, transfer("t", "det", box_ap=1.0), walls=[60.0, 60.0])
    assert estimate(known, JOB, CONFIG, FLAT) is None


def test_what_is_no_file_says_no_cost(tmp_path, monkeypatch):
    """The plan ended on a link to nothing beside its work dir, and on a file that another run had just removed."""
    (tmp_path / "lost.json").symlink_to(tmp_path / "gone")
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    found = costs(tmp_path, transfer("a", "detection"), walls=[60.0])
    assert [record["cost"]["wall_s"] for record in found] == [60.0]

    def removed(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr("mimtransfer.suites.plan.read_record", removed)
    assert read_costs([tmp_path]) == []


def test_wall_time_of_a_plan():
    """Two pretrainings, each before one transfer, and one job on its own."""
    names = {"a": (), "b": (), "a2": ("a",), "b2": ("b",), "c": ()}
    jobs = [Job(name, "transfer", after=after) for name, after in names.items()]
    states = {name: State("new") for name in names}
    seconds = {"a": 10.0, "b": 4.0, "a2": 3.0, "b2": 5.0, "c": 2.0}
    assert makespan(jobs, states, seconds, 1) == 24.0
    assert makespan(jobs, states, seconds, 2) == 13.0  # a, a2 on one; b, b2 and c on the other
    assert makespan(jobs, states, seconds, 9) == 13.0
    assert makespan(jobs, {**states, "a": State("done")}, seconds, 9) == 9.0
    wide = [Job("a", "pretrain", gpus=2), Job("c", "transfer")]
    assert makespan(wide, states, seconds, 2) == 12.0
    assert makespan(jobs, dict.fromkeys(names, State("done")), seconds, 2) == 0.0


def test_jobs_without_a_record_are_estimated(tmp_path):
    """Only these are asked for, and what nobody knows stays unknown."""
    jobs = {name: Job(name, kind) for name, kind in (("a", "pretrain"), ("b", "transfer"), ("c", "data"))}
    config, asked = {**CONFIG, "task": "detection"}, []
    inputs = SimpleNamespace(config=lambda job: config, protocol=lambda job: FLAT)
    suite = SimpleNamespace(jobs=jobs, work_dir=tmp_path / "study", records=[], path="s.py")
    guesses = {"a": (7200.0, "estimated, h100")}
    text = plan(SimpleNamespace(suite=suite, inputs=inputs), dict.fromkeys(jobs, State("new")), 1, True,
                lambda job: asked.append(job.name) or guesses.get(job.name))  # fmt: skip
    assert asked == ["a", "b"]
    assert "2 h 0 min  (estimated, h100)" in text and text.count("?") == 2 and "and 2 of unknown cost" in text
