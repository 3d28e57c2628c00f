"""tools/train.py --fsdp on two processes of a CPU: the training of one process, sharded."""
import json
import socket
from pathlib import Path

import pytest
import torch
from coloured_classes import paint_classes
from forked_tool import run_ranks
from mmengine.config import Config
from sharded_norms import sharded_norms
from sharded_run import run_tool

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.training.fsdp import set_fsdp, transformer_blocks

ROOT = Path(__file__).parents[2]
CONFIG = f"""
_base_ = [{str(ROOT / "configs/classification/finetune_vit-tiny-p4_5e_cifar10.py")!r}]
protocol = 'fine-tuning, colours'
custom_imports = dict(imports=['mimtransfer', 'sharded_run'], allow_failed_imports=False)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook'), dict(type='TrailHook')]
model = dict(num_classes=3, head_std=0.02, backbone=dict(
    patch_size=8, grad_checkpointing=True, frozen_stages=0, model_kwargs=dict(embed_dim=48, depth=2, num_heads=3)))
optim_wrapper = dict(optimizer=dict(lr=5e-3), paramwise_cfg=dict(layer_decay_rate=0.5), clip_grad=dict(max_norm=0.5))
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(root='images/train', num_images=24))
val_dataloader = dict(batch_size=6, num_workers=0, persistent_workers=False, dataset=dict(root='images/test'))
test_dataloader = val_dataloader
param_scheduler = [dict(type='CosineAnnealingLR', T_max=2, eta_min_ratio=0.0, begin=0, end=2, by_epoch=True,
                        convert_to_iter_based=True)]
train_cfg = dict(max_epochs=2, val_interval=2)
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def trail(folder):
    return torch.tensor([json.loads(line) for line in Path(folder, "trail.jsonl").read_text().splitlines()])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Work dirs of one training: `alone` on one process, `sharded` on two, `resumed` after the first epoch of it."""
    folder = tmp_path_factory.mktemp("fsdp")
    paint_classes(folder, {"blue": (40, 60, 160), "green": (50, 150, 60), "red": (160, 60, 50)}, 25)
    (folder / "config.py").write_text(CONFIG)

    def run(tool, *args, processes=1, batch):
        options = ["--cfg-options", f"train_dataloader.batch_size={batch}"]
        port = free_port() if processes > 1 else 0
        statuses = run_tool(folder, tool, *args, *options, processes=processes, port=port)
        assert statuses == [0] * processes, (folder / "tool.log").read_text()[-3000:]

    run("train", "config.py", "--work-dir", "alone", batch=6)
    run("train", "config.py", "--work-dir", "sharded", "--fsdp", processes=2, batch=3)
    resume = ("--resume", "sharded/epoch_1.pth")
    run("train", "config.py", "--work-dir", "resumed", "--fsdp", *resume, processes=2, batch=3)
    return folder


def test_each_process_holds_a_part_in_units_of_blocks(folder):
    held = [json.loads(Path(folder, "sharded", f"held_{rank}.json").read_text()) for rank in range(2)]
    whole = sum(value.numel() for value in read_checkpoint(folder / "sharded/epoch_2.pth")["state_dict"].values())
    assert held[0]["units"] == ["", *(f"_fsdp_wrapped_module.backbone.blocks.{i}" for i in range(2))]
    assert held[0]["held"] + held[1]["held"] < 1.05 * whole and max(h["held"] for h in held) < 0.6 * whole


def test_steps_are_those_of_one_process(folder):
    alone, sharded = trail(folder / "alone"), trail(folder / "sharded")
    assert len(alone) == 8 and alone[0, 1] > 0.5  # clipped, by the norm over both shards
    torch.testing.assert_close(sharded, alone, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(trail(folder / "resumed"), sharded[4:], rtol=1e-5, atol=1e-7)


def test_checkpoints_are_whole_and_every_tool_reads_them(folder):
    runs = ("alone", "sharded", "resumed")
    alone, sharded, resumed = (read_checkpoint(folder / name / "epoch_2.pth") for name in runs)
    assert list(sharded["state_dict"]) == list(alone["state_dict"])
    for name, value in alone["state_dict"].items():
        torch.testing.assert_close(sharded["state_dict"][name], value, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(resumed["state_dict"][name], sharded["state_dict"][name], rtol=1e-4, atol=1e-6)
    options = dict(img_size=32, patch_size=8, pos_embed="learned", final_norm=False)
    vit = TimmViT("vit_tiny_patch16_224", model_kwargs=dict(embed_dim=48, depth=2, num_heads=3), **options)
    report = load_backbone(vit, folder / "sharded/epoch_2.pth")
    assert len(report.matched) == len(vit.state_dict()) and report.pretraining["processes"] == 2
    records = [json.loads((folder / name / "result.json").read_text()) for name in ("alone", "sharded")]
    assert records[0]["metrics"] and records[0]["metrics"] == records[1]["metrics"]
    assert records[0]["protocol"]["fingerprint"] == records[1]["protocol"]["fingerprint"]


def test_groups_have_the_lr_and_decay_of_their_layer(folder):
    groups = read_checkpoint(folder / "sharded/epoch_1.pth")["optimizer"]["param_groups"]
    found = {name: (group["initial_lr"], group["weight_decay"]) for group in groups for name in group["params"]}
    assert found["backbone.blocks.0.attn.qkv.weight"] == (5e-3 * 0.25, 0.05)
    assert found["backbone.blocks.1.attn.qkv.bias"] == (5e-3 * 0.5, 0)
    assert found["head.weight"] == (5e-3, 0.05) and "backbone.patch_embed.proj.weight" not in found  # frozen


@pytest.mark.parametrize(("options", "says"), [
    (dict(launcher="none"), "start it with tools/launch/torchrun.sh"),
    (dict(launcher="pytorch", custom_hooks=[dict(type="EMAHook")]), "take EMAHook out of custom_hooks"),
])
def test_what_cannot_be_sharded(options, says):
    with pytest.raises(UserError, match=says):
        set_fsdp(Config(options), True)


def test_blocks_of_a_swin_are_units():
    from mimtransfer.backbones.swin import TimmSwin

    model = torch.nn.ModuleDict(dict(backbone=TimmSwin("swin_tiny_patch4_window7_224", model_kwargs=dict(
        embed_dim=12, depths=(1, 2), num_heads=(1, 2)))))
    assert len(transformer_blocks(model)) == 3


@pytest.mark.parametrize(("sync_bn", "kind"), [("torch", "HostSyncBatchNorm"), (None, "BatchNorm2d")])
def test_batch_norm_is_synchronised_where_the_config_says_so(sync_bn, kind, tmp_path):
    # The kinds only, without a GPU; what it computes is in test_sharded_steps.py.
    assert run_ranks(sharded_norms, str(tmp_path / "store"), str(tmp_path), sync_bn) == [0, 0]
    for rank in range(2):
        kinds, num_units = torch.load(tmp_path / f"{rank}.pt")
        assert kinds == [kind] and num_units > 1
