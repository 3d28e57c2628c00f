"""Records of runs that never were."""
from mimtransfer.results.fingerprint import fingerprint


def record(kind, label, run_id, config, **fields):
    """Return a valid record; `fields` replace whole top-level fields."""
    base = {
        "schema": 2,
        "kind": kind,
        "mode": "train",
        "run_id": run_id,
        "label": label,
        "task": kind,
        "method": None,
        "strategy": None,
        "backbone": {"type": "TimmViT", "arch": "vit_tiny"},
        "dataset": "ImageFolder camvid, 701 images",
        "schedule": {"epochs": 12, "iters": 600},
        "protocol": {"name": "p", "fingerprint": fingerprint(config), "config": config},
        "data_fingerprint": {},
        "seed": 0,
        "init": {"kind": "random"},
        "metrics": {},
        "raw_metrics": {},
        "evaluated": {"on": "val", "iter": 600},
        "cost": {
            "images_per_s": 10.0,
            "wall_s": 60.0,
            "peak_memory_bytes": 2_000_000_000,
            "device": "CPU",
            "device_type": "cpu",
            "processes": 1,
            "effective_batch": 8,
        },
        "files": {"checkpoint": None, "config": None, "log": None},
        "curves": {},
        "versions": {"python": "3.11.9"},
        "git": {"commit": "0" * 40, "dirty": False},
        "command": "python tools/train.py x.py",
        "started_at": "2026-01-01T00:00:00+00:00",
        "finished_at": "2026-01-01T01:00:00+00:00",
    }
    return {**base, **fields}


def points(**values):
    """Return a metrics field."""
    return {name: {"value": value, "unit": "points"} for name, value in values.items()}


def pretrain(run_id, *, label="MAE", config=None, speed=1234.0, iters=600, **fields):
    """Return the record of a pretraining."""
    made = record("pretrain", label, run_id, config or {"model.type": label}, **fields)
    made["cost"]["images_per_s"] = speed
    made["evaluated"] = {"on": None, "iter": iters}
    made["metrics"] = {"loss": {"value": 0.4, "unit": "loss"}}
    return made


def init_from(source, **changes):
    """Return the field `init` of a transfer from the checkpoint of a pretraining record."""
    signature = {
        "kind": "pretrain",
        "run_id": source["run_id"],
        "label": source["label"],
        "dataset": source["dataset"],
        "config_fingerprint": source["protocol"]["fingerprint"],
        "iter": source["evaluated"]["iter"],
        "images_per_s": source["cost"]["images_per_s"],
        "cost": {"wall_s": source["cost"]["wall_s"], "peak_memory_bytes": source["cost"]["peak_memory_bytes"]},
        "processes": 1,
        "device": "CPU",
        "device_type": "cpu",
        "init": {"kind": "random"},
        **changes,
    }
    counts = {"matched": 150, "missing": 0, "unexpected": 2}
    return {"kind": "checkpoint", "path": "epoch_9.pth", "sha256": "f" * 64, **counts, "pretraining": signature}


def transfer(run_id, task, source=None, *, seed=0, config=None, protocol=None, label=None, **metrics):
    """Return the record of a transfer; source is a pretraining record or None for random init."""
    config = config or {"model.type": task, "optim_wrapper.optimizer.lr": 0.0001}
    made = record("transfer", label or (source["label"] if source else "random init"), run_id, config)
    made |= {"task": task, "seed": seed, "metrics": points(**metrics)}
    made["protocol"]["name"] = protocol or f"small_{task}"
    if source:
        made["init"] = init_from(source)
    return made
