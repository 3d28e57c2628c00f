"""A segmentor with batch norm that is trained on one process, or with FSDP on two; what a process finds is saved."""
import os
from types import SimpleNamespace

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from torch import nn

from mimtransfer.checkpoints.safe_load import allow_mmengine_checkpoints
from mimtransfer.registry import STRATEGIES
from mimtransfer.training.accumulation import gradients_in_flight
from mimtransfer.training.fsdp import set_fsdp
from mimtransfer.training.host_sync_norm import HostSyncBatchNorm

# FSDP takes the norm of gradients in single precision, whatever they are.
CLIPPED = dict(optimizer=dict(type="AdamW", lr=1e-2, weight_decay=0.1), clip_grad=dict(max_norm=0.1))
WRAPPER = dict(optimizer=CLIPPED["optimizer"])
STEPS, MIDDLE = 6, 3


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(6), nn.Linear(6, 6)

    def forward(self, tokens):
        return tokens + self.fc(self.norm(tokens)).tanh()


class Segmentor(BaseModel):
    """Blocks of a ViT, and a head with batch norm. In doubles: what differs is not rounding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Module()
        self.backbone.patch_embed = nn.Linear(3, 6)
        self.backbone.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Sequential(nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
        self.double()

    def forward(self, inputs, data_samples=None, mode="loss"):
        tokens = self.backbone.patch_embed(inputs)
        for block in self.backbone.blocks:
            tokens = block(tokens)
        maps = self.head(tokens.transpose(1, 2).unflatten(2, (2, 2)))
        return dict(loss=(maps - 1).pow(4).mean())


def batch(step):
    """Return the images of a step, [8, 4, 3], with means of their own."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(8, 4, 3, generator=generator, dtype=torch.float64)
    return images + torch.arange(8, dtype=torch.float64)[:, None, None]


def alone(options, dtype):
    """Train on one process; return state dict and losses."""
    model = Segmentor().to(dtype).train()
    wrapper = build_optim_wrapper(model, dict(options))
    losses = [model.train_step(dict(inputs=batch(step).to(dtype)), wrapper)["loss"].item() for step in range(STEPS)]
    return model.state_dict(), losses


def sharded(rank, folder, sync_bn, resume, options=WRAPPER, dtype=torch.float64):
    """Train a half of each batch on one of two processes, from a checkpoint or from the beginning."""
    os.environ["LOCAL_RANK"] = str(rank)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store-{resume}", rank=rank, world_size=2)
    cfg = Config(dict(launcher="pytorch"))
    set_fsdp(cfg, True, sync_bn)
    strategy = STRATEGIES.build(dict(cfg.strategy, work_dir=str(folder)))
    strategy.prepare(Segmentor().to(dtype), optim_wrapper=dict(options))
    strategy.model.train()
    if resume:
        allow_mmengine_checkpoints()
        strategy.resume(f"{folder}/middle.pth", map_location="cpu")
    losses = []
    for step in range(MIDDLE if resume else 0, STEPS):
        half = batch(step)[4 * rank : 4 * rank + 4].to(dtype)
        loss = strategy.model.train_step(dict(inputs=half), strategy.optim_wrapper)["loss"].detach()
        dist.all_reduce(loss)
        losses.append(loss.item() / 2)
        if step == MIDDLE - 1 and not resume:
            strategy.save_checkpoint(f"{folder}/middle.pth", extra_ckpt=dict(meta=dict(epoch=0, iter=MIDDLE)))
    strategy.save_checkpoint(f"{folder}/{'resumed' if resume else 'end'}.pth")
    if rank == 0:
        torch.save(losses, f"{folder}/losses-{resume}.pt")
    dist.destroy_process_group()


def norms(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    images = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    part = (images[:1] if rank == 0 else images[1:]).clone().requires_grad_()  # unequal parts
    norm = HostSyncBatchNorm(3, momentum=None).double()
    weight = torch.arange(60, dtype=torch.float64).view(5, 3, 4)[:1 if rank == 0 else None][-len(part):]
    out = norm(part)
    (out * weight).sum().backward()
    torch.save((out.detach(), part.grad, norm.running_mean, norm.running_var), f"{folder}/norm-{rank}.pt")
    # Beside it, since the processes are here: gradients of an accumulation, of which a process has none for one weight.
    model = nn.ModuleDict(dict(a=nn.Linear(1, 1), b=nn.Linear(1, 1), c=nn.Linear(1, 1)))
    model["a"].weight.grad = torch.full((1, 1), float(get_rank() + 1))
    if rank == 1:
        model["b"].weight.grad = torch.full((1, 1), 4.0)
    runner = SimpleNamespace(cfg=dict(optim_wrapper=dict(accumulative_counts=3)), model=model, max_iters=9)
    torch.save([gradients_in_flight(runner, done) for done in (3, 4, 9)], f"{folder}/gradients-{rank}.pt")
    dist.destroy_process_group()
