"""Mutate shipped configs, and say what becomes of each: refused in one line, harmless for a reason, or a traceback.

    python tests/helpers/fuzz_configs.py [--count 500] [--seed 0] [--list]

A mutation misspells a key at any depth, drops one, or puts another value in its place. Judged in this process: the
check of the settings that the tools run first, then what the changed part builds, on the meta device. No data are read.
"""
import argparse
import collections
import contextlib
import copy
import random
import re
import sys
import time
import traceback
from pathlib import Path

import torch
from mmengine import registry as mm
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

import mimtransfer  # noqa: F401  before mmdet and mmseg, which need mmcv's operators
import pretrain.data
import pretrain.hooks
import pretrain.methods  # noqa: F401
from mimtransfer.checks.settings import _SECTIONS, wrong_settings
from mimtransfer.checks.signatures import KINDS, find, signature
from mimtransfer.checks.values import EMPTY
from mimtransfer.cli.explain import explain

ROOT = Path(__file__).parents[2] / "configs"
LEAVES = [
    "debug/mae_vit-debug_2e_folder.py", "debug/simmim_vit-debug_2e_folder.py", "debug/mfm_vit-debug_2e_folder.py",
    "pretrain/mae_famt_vit-demo_scenes.py", "pretrain/mfm_resnet50_10e_cifar10.py",
    "pretrain/mae_noise_vit-tiny-p4_10e_cifar10.py", "pretrain/simmim_swin-base_800e_in1k-192.py",
    "detection/mask-rcnn_vit-demo_scenes.py", "detection/mask-rcnn_vitdet_vit-base_100e_coco.py",
    "detection/cascade-mask-rcnn_vitdet_vit-base_100e_coco.py", "detection/retinanet_vitdet_vit-base_100e_coco.py",
    "detection/dino_vitdet_vit-base_12e_coco.py", "segmentation/upernet_vit-demo_scenes.py",
    "segmentation/upernet_vit-base_160k_ade20k-512x512.py", "segmentation/linear_vit-base_40k_ade20k-512x512.py",
    "segmentation/fpn_vit-base_80k_ade20k-512x512.py", "segmentation/mask2former_vit-base_160k_ade20k-512x512.py",
    "classification/finetune_vit-tiny-p4_100e_cifar100.py", "classification/knn_vit-base_in1k.py",
    "classification/linear-sweep_vit-tiny-p4_cifar10-1pct.py",
    "robustness/corruptions_finetune_vit-tiny-p4_5e_cifar10.py",
    "robustness/attacks_finetune_vit-tiny-p4_5e_cifar10.py",
    "pretrain/ijepa_vit-tiny-p4_10e_cifar10.py", "pretrain/data2vec2_amt_vit-tiny-p4_10e_cifar10.py",
    "pretrain/mae_cross-amt_vit-base_400e_in1k.py", "pretrain/mae_phases_vit-base_800e_in1k.py",
]
CHECKED = [*_SECTIONS, "auto_scale_lr", "randomness", "env_cfg", "default_scope", "load_from", "resume", "launcher"]


def load(leaf: str) -> dict:
    """Return a shipped config, resolved."""
    return Config.fromfile(ROOT / leaf, import_custom_modules=False).to_dict()


def paths_in(node, path=()):
    """Yield the path of every key below `node`."""
    for key, item in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(node, dict):
            yield (*path, key)
        if isinstance(item, dict | list | tuple):
            yield from paths_in(item, (*path, key))


def at(node, path):
    for key in path:
        node = node[key]
    return node


def unfrozen(node):
    """Copy with lists for tuples that hold dicts, so that these can be changed."""
    if isinstance(node, dict):
        return {key: unfrozen(item) for key, item in node.items()}
    if isinstance(node, list | tuple) and any(isinstance(item, dict | list | tuple) for item in node):
        return [unfrozen(item) for item in node]
    return copy.copy(node)


def misspelt(key: str, rng: random.Random) -> str:
    """Double, drop or swap a letter."""
    place = rng.randrange(len(key))
    doubled = key[: place + 1] + key[place:]
    dropped = key[:place] + key[place + 1 :]
    swapped = key[:place] + key[place : place + 2][::-1] + key[place + 2 :]
    return rng.choice([word for word in (doubled, dropped, swapped) if word and word != key])


def other_values(value):
    """Return values that are not what stands there: of another type, NaN, negative, huge, empty."""
    if isinstance(value, bool):
        return ["banana", [], 3.7]
    if isinstance(value, int | float):
        return ["banana", float("nan"), -abs(value) - 1, 1e30, [], {}]
    if isinstance(value, str):
        return [3, [], "", float("nan")]
    if isinstance(value, list | tuple):
        numbers = value and all(isinstance(item, int | float) for item in value)
        return ["banana", 3, {}, []] + [type(value)([float("nan")] * len(value))] * bool(numbers)
    if isinstance(value, dict):
        return ["banana", 3, []]
    return ["banana", -3, float("nan")]


def mutate(config: dict, rng: random.Random):
    """Return (changed config, path, kind of mutation, new key or value)."""
    config = unfrozen({key: config[key] for key in CHECKED if key in config})
    path = rng.choice(list(paths_in(config)))
    kind = rng.choice(["misspell", "drop", "value", "value"])
    owner, key = at(config, path[:-1]), path[-1]
    if kind == "misspell" and isinstance(key, str):
        new = misspelt(key, rng)
        owner[new] = owner.pop(key)
    elif kind == "value":
        new = owner[key] = rng.choice(other_values(owner[key]))
    else:
        kind, new = "drop", None
        del owner[key]
    return config, path, kind, new


def build(config: dict, path: tuple) -> None:
    """Build the part that was changed, as the Runner will."""
    section = path[0]
    if section == "model":
        model = copy.deepcopy(config["model"])
        if "tokenizer" in model:
            return
        for part in ("backbone", "encoder"):
            if isinstance(model.get(part), dict):
                model[part].pop("init_cfg", None)
        with torch.device("meta"):
            mm.MODELS.build(Config(dict(model=model)).model)
    elif section in ("custom_hooks", "default_hooks"):
        hooks = config.get(section) or {}
        for hook in hooks.values() if isinstance(hooks, dict) else hooks:
            if hook is not None:
                mm.HOOKS.build({key: item for key, item in hook.items() if key != "priority"})
    elif section == "param_scheduler" and len(path) > 1 and isinstance(path[1], int):
        step = {key: item for key, item in config[section][path[1]].items() if key != "convert_to_iter_based"}
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        mm.PARAM_SCHEDULERS.build(step, default_args=dict(optimizer=optimizer))
    elif section == "log_processor":
        mm.LOG_PROCESSORS.build({"type": "LogProcessor", **config.get(section, {})})
    elif section.endswith("dataloader") and "pipeline" in path:
        step = path[: path.index("pipeline") + 2]
        if len(step) == path.index("pipeline") + 2 and isinstance(at(config, step), dict):
            mm.TRANSFORMS.build(copy.deepcopy(at(config, step)))


def reason(config: dict, path: tuple, kind: str, new) -> str:
    """Say why a mutation that is taken does no harm, or what it leaves to whom."""
    owner, key = at(config, path[:-1]), path[-1]
    name = owner.get("type") if isinstance(owner, dict) else None
    scope = config.get("default_scope", "mimtransfer")
    built = next((one for part in KINDS for one in find(name, part, scope)), None) if isinstance(name, str) else None
    if len(path) == 1:
        return f"{kind} of a whole section: the run is one without it"
    if built is None:
        return "plain dict that its owner reads key by key: an absent or unknown key means its default"
    hint, default = signature(built).slots.get(key, (EMPTY, EMPTY))
    if kind in ("drop", "misspell"):
        if default is not EMPTY:
            return "the default of the class is used" if kind == "drop" else "taken by **kwargs, the default is used"
        return "the builder gives it, or the class is built with what its owner adds"
    if hint is not EMPTY or default is not EMPTY:
        return "of a type and in a range that the signature takes"
    return "its class took the value when it was built"


def judge(config: dict, path: tuple, kind: str, new) -> tuple[str, str]:
    """Return ("refused", line), ("harmless", reason) or ("traceback", text)."""
    DefaultScope._instance_dict.clear()
    scope = config.get("default_scope") or "mimtransfer"
    init_default_scope(scope if isinstance(scope, str) else "mimtransfer")
    try:
        lines = wrong_settings(Config(config))
        if lines:
            return "refused", lines[0]
        build(config, path)
    except Exception as error:
        line = explain(error)
        return ("refused", line) if line else ("traceback", traceback.format_exc())
    return "harmless", reason(config, path, kind, new)


def run(count: int, seed: int):
    """Yield (leaf, path, kind, new, verdict, text) of `count` mutations, over the leaves in turn."""
    configs = {leaf: load(leaf) for leaf in LEAVES[:count]}
    for number in range(count):
        leaf = LEAVES[number % len(LEAVES)]
        config, path, kind, new = mutate(configs[leaf], random.Random(f"{seed} {number}"))
        yield leaf, ".".join(map(str, path)), kind, new, *judge(config, path, kind, new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="also print what was refused")
    args = parser.parse_args()
    began, verdicts, reasons = time.process_time(), collections.Counter(), collections.Counter()
    with contextlib.redirect_stderr(sys.stdout):
        for leaf, path, kind, new, verdict, text in run(args.count, args.seed):
            verdicts[verdict] += 1
            reasons[text] += verdict == "harmless"
            if verdict != "refused" or args.list:
                print(f"{verdict}: {leaf}: {kind} {path} -> {new!r}: {text}", flush=True)
            assert verdict != "refused" or not re.search(r"\n", text), text
    for text, number in reasons.most_common():
        print(f"{number:5d} harmless: {text}")
    print(f"seed {args.seed}: {dict(verdicts)} of {args.count}, {time.process_time() - began:.0f} s CPU")
    sys.exit(verdicts["traceback"] > 0)


if __name__ == "__main__":
    main()
