"""Curves of two contenders and two seeds from pictures to the page, by the tools themselves; killed in the midst."""
import json
import os
from pathlib import Path

import pytest
from coloured_classes import call, paint_classes
from own_tool import call_tool

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {"blue": (40, 60, 160), "green": (50, 150, 60), "red": (160, 60, 50)}
DEBUG = str(ROOT / "configs/debug/mae_vit-debug_2e_folder.py")
ENCODER = "arch='vit_tiny_patch16_224', patch_size=8, model_kwargs=dict(embed_dim=48, depth=2, num_heads=3)"
FILES = {
    "mae.py": f"""
_base_ = [{DEBUG!r}]
custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook')]
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(root='images/train'))
train_cfg = dict(max_epochs=2)
""",
    "amt.py": """
_base_ = ['mae.py']
model = dict(strategy=dict(_delete_=True, type='AMTMasking', mask_ratio=0.5, throw_ratio=0.25))
custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook'),
                dict(type='MapBankHook', begin=1, interval=1, amp=False)]
""",
    "linear.py": f"""
_base_ = [{str(ROOT / "configs/classification/linear-sweep_vit-tiny-p4_cifar10.py")!r}]
protocol = 'linear, colours'
model = dict(backbone=dict({ENCODER}))
loader = dict(batch_size=24, num_workers=0)
test_cfg = dict(lrs=(0.1, 1.0), weight_decays=(0.0,), epochs=3, warmup_epochs=1, held_out=0.25,
                memory_dataloader=dict(dataset=dict(root='images/train', num_images=24), **loader))
test_dataloader = dict(dataset=dict(root='images/test'), **loader)
""",
    "suite.py": """
seeds = [0, 1]
pretrainings = dict(mae=dict(config='mae.py'), amt=dict(config='amt.py'))
tasks = dict(linear=dict(config='linear.py'))
curves = dict(baseline='mae', images=[10], turn_epochs=1)
""",
}


def in_this_process(words, output, env, locks):
    """Run a tool's command here, and count it."""
    import time; t=time.process_time(); name = Path(words[1]).stem
    try:
        call(Path.cwd(), name, *words[2:])
    except SystemExit as stopped:
        print("CPU", name, time.process_time() - t)
        return stopped.code or 0
    print("CPU", name, time.process_time() - t)
    return 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves")
    paint_classes(folder, CLASSES, 60)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def test_a_study(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("mimtransfer.suites.turns.run_command", in_this_process)
    import mimtransfer.suites.turns as turns
    turns.Turns.__init__.__defaults__ 
    print(call_tool("time_to_accuracy", "suite.py"))
    print(open("work_dirs/suite/curves.json").read())
