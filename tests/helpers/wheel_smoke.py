"""Build the wheel, install it into an environment, and go with it from no data at all to a table."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ["mimtransfer", "pretrain", "configs", "tools", "docs", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"]
ENV = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
ENV |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": ""}
SHORT = ["train_dataloader.batch_size=2", "train_dataloader.num_workers=0",
         "train_dataloader.persistent_workers=False"]
EVALUATED = ["val_dataloader.batch_size=4", "val_dataloader.num_workers=0",
             "val_dataloader.persistent_workers=False"]


def run(*words, cwd):
    """Run a command outside of this environment; return what it prints. AssertionError with its last lines."""
    done = subprocess.run([str(word) for word in words], cwd=cwd, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def build_wheel(source, out):
    """Build the wheel from a copy of what it is made of, so that no `build/` stays in the checkout."""
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    backend = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"
    run(sys.executable, "-c", backend, out, cwd=source)  # what `pip wheel .` calls
    return next(out.glob("*.whl"))


def train_from_nothing(call, folder):
    """Make scenes; pretrain by a short name; train a detector from a config of one's own: two steps each."""
    call("make-scenes", "--train", 4, "--val", 2, "--unlabelled", 4, "--workers", 1)
    call("pretrain", "mae_vit-demo_scenes", "--cfg-options", *SHORT, "train_cfg.max_epochs=1")
    (folder / "mine.py").write_text("_base_ = 'mimtransfer::detection/mask-rcnn_vit-demo_scenes.py'\n"
                                    "protocol = 'mine'\n")
    call("train", "mine.py", "--pretrained", "work_dirs/mae_vit-demo_scenes", "--seed", 0, "--cfg-options", *SHORT,
         *EVALUATED, "train_cfg.max_iters=2", "train_cfg.val_interval=2", "default_hooks.checkpoint.interval=2")
