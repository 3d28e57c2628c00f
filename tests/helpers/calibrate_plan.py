"""Hold the memory that tools/plan.py predicts against that of real steps on the CPU.

    python tests/helpers/calibrate_plan.py            # all cases; writes docs/results/plan-calibration.json
    python tests/helpers/calibrate_plan.py --table    # the table of docs/plan.md from that record

Each case is a process of its own. Measured is the second of two steps: the bytes of weights and optimizer state, and on
top of them the highest sum of what torch's CPU allocator gave and took back, by its profiler. It sees every tensor and
the buffers inside of operators. Beside it stands the growth of the resident memory since before the model, which counts
also what the C library keeps. The prediction is that of a run on the CPU, whose operators keep other tensors than a
GPU's. Detectors get the proposals of a plan, as a trained RPN would make them, but where the name says otherwise.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "docs" / "results" / "plan-calibration.json"
UNTRAINED = "untrained RPN"
CASES = {  # name: config, batch, bf16 autocast
    "MAE ViT-B": ("pretrain/mae_vit-base_800e_in1k.py", 16, False),
    "MAE ViT-B, bf16": ("pretrain/mae_vit-base_800e_in1k.py", 16, True),
    "SimMIM ViT-B": ("pretrain/simmim_vit-base_800e_in1k.py", 8, False),
    "MFM ViT-B": ("pretrain/mfm_vit-base_300e_in1k.py", 8, False),
    "fine-tuning ViT-B": ("classification/finetune_mae_vit-base_100e_in1k.py", 8, False),
    "UperNet ViT-Ti, 224": ("segmentation/upernet_vit-tiny_camvid-cpu.py", 8, False),
    "Mask R-CNN, demo, 64": ("detection/mask-rcnn_vit-demo_scenes.py", 8, False),
    "Mask R-CNN ViT-S, 512": ("detection/mask-rcnn_vitdet_vit-small_25e_coco-512.py", 1, False),
    f"Mask R-CNN ViT-S, 512, {UNTRAINED}": ("detection/mask-rcnn_vitdet_vit-small_25e_coco-512.py", 2, False),
}


def main() -> None:
    """Run the cases, or one of them, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--case", nargs=2, metavar=("NAME", "predict|measure"), help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    args = parser.parse_args()
    if args.case:
        name, part = args.case
        print(json.dumps(predict(*CASES[name]) if part == "predict" else measure(*CASES[name], UNTRAINED not in name)))
        return
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if not args.table:
        for name in args.only:
            found: dict = dict(zip(("config", "batch", "amp"), CASES[name]))
            for part in ("predict", "measure"):
                words = [sys.executable, __file__, "--case", name, part]
                out = subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT,
                                     env={**os.environ, "PYTHONPATH": str(ROOT)}).stdout
                found |= json.loads(out.splitlines()[-1])
            record[name] = found
            RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))


def table(record: dict) -> str:
    """Return the Markdown table of a record."""
    lines = ["| step on the CPU | batch | predicted GB | measured GB | error | resident GB |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, found in record.items():
        predicted, measured = found["predicted"], found["measured"]
        lines.append(f"| {name} | {found['batch']} | {predicted / 1e9:.2f} | {measured / 1e9:.2f} | "
                     f"{predicted / measured - 1:+.1%} | {found['resident'] / 1e9:.2f} |")
    return "\n".join(lines)


def predict(config: str, batch: int, amp: bool) -> dict:
    """Return the predicted bytes and operations of a step."""
    from mimtransfer.planning.step import FakeStep

    cfg, task = task_of(config)
    cost = FakeStep(cfg, task, amp, cuda=False).run(batch)
    return dict(predicted=cost.peak, flops=cost.flops)


def measure(config: str, batch: int, amp: bool, stand_ins: bool = True) -> dict:
    """Return the measured bytes of the second step."""
    import torch
    from mmengine.optim import build_optim_wrapper
    from torch.profiler import ProfilerActivity, profile

    from mimtransfer.planning.step import _plain_optimizer

    class Real:
        """In the place of `Fake`: tensors with values."""

        def empty(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
            return torch.randint(0, 256, shape, dtype=dtype)

    cfg, task = task_of(config)
    before = resident()
    model = task.build().train()
    optimizer = build_optim_wrapper(model, _plain_optimizer(cfg, cuda=False)).optimizer

    def step() -> None:
        data = model.data_preprocessor(real_masks(task.data(Real(), model, batch)), True)
        around = task.around(model) if stand_ins else contextlib.nullcontext()
        with around, torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss, _ = model.parse_losses(model(**data, mode="loss"))
        del data
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    kept = [*model.parameters(), *model.buffers(),
            *(value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value))]
    sizes = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in kept}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    level = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    return dict(measured=sum(sizes.values()) + peak, resident=resident() - before)


def task_of(config: str):
    """Return a config and its task."""
    import mimtransfer  # noqa: F401  before mmdet and mmseg
    from mimtransfer.cli import launch
    from pretrain.planning.task import pretraining_task
    from pretrain.runner import register_all

    cfg = launch.load_config(str(ROOT / "configs" / config), [])
    launch.enter_scope(cfg)
    if cfg.get("task") is not None:
        from mimtransfer.planning.tasks import transfer_task

        return cfg, transfer_task(cfg)
    register_all()
    return cfg, pretraining_task(cfg)


def real_masks(data: dict) -> dict:
    """Let mmdet's own masks be cropped."""
    for sample in data.get("data_samples") or ():
        instances = sample.get("gt_instances")
        if instances is not None and "masks" in instances:
            from mmdet.structures.mask import BitmapMasks

            masks = instances.masks
            instances.masks = BitmapMasks(masks.masks, masks.height, masks.width)
    return data


def resident() -> int:
    """Return the most bytes that the process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
