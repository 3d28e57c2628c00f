"""A checkout whose tools take no time: the command lines, checkpoints and records of ours, scores by a formula."""
import argparse
import hashlib
import json
import os
import pickle
import sys
import time
import zipfile
from pathlib import Path

from fabricate_records import pretrain, transfer

from mimtransfer.results.record import read_record, write_record

HELPERS = Path(__file__).resolve().parent
ROOT = HELPERS.parents[1]
EPOCHS = 2
_TOOL = """
import sys
sys.path[:0] = [{root!r}, {helpers!r}]
import suite_toys
sys.exit(suite_toys.run({name!r}, sys.argv[1:]))
"""
_FILES = {
    "tools/make_data.py": """
import pathlib
pathlib.Path("data").mkdir(exist_ok=True)
pathlib.Path("data/list.txt").write_text("a b c")
""",
    "tools/table.py": f"import runpy\nrunpy.run_path({str(ROOT / 'tools/table.py')!r}, run_name='__main__')\n",
    "pretrain/other.py": "power = 2\n",
    "mimtransfer/heads.py": "width = 8\n",
    "configs/mae.py": "model = dict(type='MAE', encoder=dict(type='Net', arch='toy'))\ntrain_cfg = dict(max_epochs=2)\n"
                      "train_dataloader = dict(batch_size=4, dataset=dict(type='Files', ann_file='data/list.txt'))\n"
                      "custom_hooks = [dict(type='ReconstructionHook')]\n",
    "configs/mfm.py": "_base_ = ['mae.py']\nmodel = dict(type='MFM')\n",
    "configs/det.py": "model = dict(type='mimtransfer.Head', backbone=dict(type='Net', arch='toy'), roi_head=dict())\n"
                      "train_cfg = dict(max_iters=20)\nprotocol = 'det'\n",
    "configs/seg.py": "model = dict(type='Head', backbone=dict(type='Net', arch='toy'), decode_head=dict())\n"
                      "train_cfg = dict(max_iters=20)\nprotocol = 'seg'\n",
    "configs/knn.py": "task = 'classification'\nmodel = dict(type='Frozen', backbone=dict(type='Net', arch='toy'))\n"
                      "test_cfg = dict(type='KNNLoop')\nprotocol = 'knn'\n",
    "suite.py": """
seeds = [0, 1, 2]
data = dict(list=dict(command="python tools/make_data.py", makes="data/list.txt"))
pretrainings = dict(mae=dict(config="configs/mae.py"), mfm=dict(config="configs/mfm.py"), random=None)
tasks = {name: dict(config=f"configs/{name}.py") for name in ("det", "seg", "knn")}
table = dict(digits=3)
""",
}
_METRICS = {"det": "box_ap", "seg": "miou", "knn": "knn_top1"}


def checkout(folder):
    """Write the toy checkout into a folder."""
    for name in ("pretrain", "train", "test", "fit_tokenizer"):
        text = _TOOL.format(root=str(ROOT), helpers=str(HELPERS), name=name)
        Path(folder, "tools").mkdir(exist_ok=True)
        Path(folder, "tools", f"{name}.py").write_text(text)
    for name, text in _FILES.items():
        Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
        Path(folder, name).write_text(text)
    text = (ROOT / "tools/transfer.py").read_text()
    text = text.replace("sys.path[0] = str(ROOT)", f"sys.path[0] = {str(ROOT)!r}")
    Path(folder, "tools/transfer.py").write_text(text)
    return folder


def run(tool, words):
    """Be tools/TOOL.py: train epoch by epoch, resume, write a record. TOY_FAIL names the jobs that fail."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("checkpoint", nargs="?")
    for name in ("work-dir", "pretrained", "launcher"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--cfg-options", nargs="+", default=[])
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--amp", action="store_true")
    args = parser.parse_args(words)
    folder, job = Path(args.work_dir), Path(args.work_dir).name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "starts.txt", "a") as file:
        devices = [os.environ.get(name, "-") for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")]
        file.write(" ".join([*devices, f"{time.monotonic():.3f}"]) + "\n")
    if tool == "fit_tokenizer":
        (folder / "codebook.json").write_text(json.dumps(vars(args)))
        return 0
    pointer, weight = folder / "last_checkpoint", 0
    if args.resume and pointer.exists():
        with zipfile.ZipFile(pointer.read_text()) as file:
            weight = int(file.read("archive/weight"))
    while weight < EPOCHS:
        time.sleep(float(os.environ.get("TOY_EPOCH", 0)))
        weight += 1
        with zipfile.ZipFile(folder / f"epoch_{weight}.pth", "w") as file:
            file.writestr("archive/weight", str(weight))
            # What torch.load reads, without torch.
            file.writestr("archive/data.pkl", pickle.dumps({"meta": {"iter": weight}, "state_dict": {}}, protocol=2))
            file.writestr("archive/version", "3\n")
        pointer.write_text(str(folder / f"epoch_{weight}.pth"))
        print(f"2026/01/01 00:00:00 - mmengine - INFO - Epoch(train) [{weight}]  loss: 1.0", flush=True)
    if job in os.environ.get("TOY_FAIL", "").split():
        print(f"Traceback ...\nerror: {job} ran out of memory", file=sys.stderr)
        return 2
    write_record(_record(tool, args, job), folder)
    return 0


def _record(tool, args, job):
    name = Path(args.config).stem
    if tool == "pretrain":
        label = {"mae": "MAE", "mfm": "MFM"}.get(name, name)
        return pretrain(_number(label, args.seed, args.cfg_options), label=label, seed=args.seed)
    if tool == "test" and args.checkpoint:
        trained = read_record(Path(args.checkpoint).parent / "result.json")
        made = transfer(trained["run_id"], "robust", None, seed=trained["seed"], label=trained["label"], top1=50.0)
        return {**made, "init": trained["init"]}
    source = read_record(Path(args.pretrained) / "result.json") if args.pretrained else None
    score = int(_number(name, args.seed, source and source["run_id"])[:4], 16) / 1000
    return transfer(_number(job, args.seed, args.work_dir), name, source, seed=args.seed, protocol=name,
                    **{_METRICS[name]: score})


def _number(*parts):
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
