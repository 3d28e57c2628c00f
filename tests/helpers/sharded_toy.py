"""A small detector, and the lr groups that one of two processes finds in it when FSDP has sharded it."""
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from mimtransfer.training.layer_decay import LayerDecayOptimWrapperConstructor


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(4), nn.Linear(4, 4)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.patch_embed = nn.Linear(4, 4)
        self.backbone.pos_embed = nn.Parameter(torch.zeros(1, 3, 4))
        self.backbone.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(4, 2)


def groups(model):
    """Return name -> (lr, weight decay), names without FSDP's parts."""
    build = LayerDecayOptimWrapperConstructor(
        dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1.0, weight_decay=0.1)), dict(layer_decay_rate=0.5)
    )
    names = {id(p): n.replace("_fsdp_wrapped_module.", "") for n, p in model.named_parameters()}
    return {
        names[id(p)]: (g["lr"], g["weight_decay"]) for g in build(model).optimizer.param_groups for p in g["params"]
    }


def sharded_groups(rank, store, answers):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    model = FullyShardedDataParallel(
        Detector(), auto_wrap_policy=ModuleWrapPolicy({Block}), use_orig_params=True, device_id=torch.device("cpu")
    )
    pieces = sum(param.numel() for param in model.parameters())
    torch.save((groups(model), pieces), f"{answers}/{rank}.pt")
    dist.destroy_process_group()
