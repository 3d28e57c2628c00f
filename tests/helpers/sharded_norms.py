"""A model with batch norm, and the kinds of norm that one of two processes has when --fsdp has sharded it."""
import os

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn

from mimtransfer.registry import STRATEGIES
from mimtransfer.training.fsdp import set_fsdp


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)


class Segmentor(BaseModel):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.patch_embed = nn.Linear(4, 4)
        self.backbone.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))

    def forward(self, inputs, data_samples=None, mode="loss"):
        raise NotImplementedError


def sharded_norms(rank, store, answers, sync_bn):
    os.environ["LOCAL_RANK"] = str(rank)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    cfg = Config(dict(launcher="pytorch", sync_bn=sync_bn))
    set_fsdp(cfg, True)
    strategy = STRATEGIES.build(dict(cfg.strategy, work_dir=answers))
    strategy.prepare(Segmentor())
    kinds = [type(module).__name__ for module in strategy.model.modules() if "Norm" in type(module).__name__]
    sharded = [name for name, module in strategy.model.named_modules() if hasattr(module, "_flat_param")]
    torch.save((kinds, len(sharded)), f"{answers}/{rank}.pt")
    dist.destroy_process_group()
