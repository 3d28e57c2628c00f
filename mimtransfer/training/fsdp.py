"""Fully sharded training (FSDP): each process keeps a part of parameters, gradients and optimizer states of a ViT-H.

mmengine's FlexibleRunner and FSDPStrategy do the work; what they leave open, or have wrong since torch 2.1, is here.
"""
from __future__ import annotations

from functools import partial
from typing import Any

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.dist import is_main_process
from mmengine.optim import OptimWrapper
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import lambda_auto_wrap_policy

from mimtransfer.errors import UserError
from mimtransfer.registry import STRATEGIES
from mimtransfer.training.host_sync_norm import run_sync_norms_on_host
from mimtransfer.training.layer_decay import find_swins, find_vits
from mimtransfer.training.whole_files import published


def set_fsdp(cfg: Config, fsdp: bool, sync_bn: str | None = None) -> None:
    """Let mmengine's FlexibleRunner shard the model over the processes of the launcher.

    Args:
        sync_bn: of the config as it was read; without a GPU, `set_launcher` has taken it out.

    Raises:
        UserError: there is one process, or a hook keeps a copy of the model, which would have to be sharded with it.
    """
    if not fsdp:
        return
    if cfg.launcher == "none":
        raise UserError("--fsdp shards a model over processes: start it with tools/launch/torchrun.sh (docs/checks.md)")
    for hook in cfg.get("custom_hooks") or []:
        if str(hook["type"]).rpartition(".")[2] == "EMAHook":
            raise UserError("--fsdp cannot average weights: take EMAHook out of custom_hooks, or train without --fsdp")
    cfg.pop("model_wrapper_cfg", None)
    # mmengine's Runner reads cfg.sync_bn, its FlexibleRunner does not.
    cfg.strategy = dict(type="mimtransfer.BlockFSDPStrategy", sync_bn=cfg.get("sync_bn", sync_bn))


@STRATEGIES.register_module()
class BlockFSDPStrategy(FSDPStrategy):
    """Shard a model block by block of its ViT or Swin; stem, neck and heads are one more unit.

    Parameters stay in fp32, and autocast (`--amp`) chooses the precision of the operators as it does without FSDP.
    Checkpoints hold the whole model under its own names, so every tool reads them; the state of the optimizer is by
    name of the parameter, and a run goes on from it with any number of processes, but only with FSDP.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(state_dict_cfg="full", **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        model = self.convert_model(model)  # BN to SyncBN, which mmengine's FSDPStrategy leaves out
        if not is_cuda_available():
            run_sync_norms_on_host(model)
        blocks = {id(block) for block in transformer_blocks(model)}
        policy = partial(lambda_auto_wrap_policy, lambda_fn=lambda module: id(module) in blocks)
        self.model_wrapper: dict[str, Any] = dict(auto_wrap_policy=policy)
        if not is_cuda_available():
            self.model_wrapper["device_id"] = torch.device("cpu")  # mmengine would give the number of a GPU
            # What lies on the CPU is not copied in "offloading" it, and its memory is freed after that.
            self.state_dict_config.offload_to_cpu = self.optim_state_dict_config.offload_to_cpu = False
        return super()._wrap_model(model)

    def build_optim_wrapper(self, optim_wrapper: dict, model: Any = None) -> OptimWrapper:
        """Build the optimizer; gradients are clipped by the norm over all shards, not by that of a process."""
        wrapper = super().build_optim_wrapper(optim_wrapper, model)
        if wrapper.clip_grad_kwargs and wrapper.clip_func is nn.utils.clip_grad_norm_:
            wrapper.clip_func = lambda _, **options: model.clip_grad_norm_(**options)
        return wrapper

    def save_checkpoint(self, filename: str, **options: Any) -> None:
        """Write beside the place and rename, as the Runner's files are written."""
        if is_main_process():
            with published(filename) as part:
                super().save_checkpoint(part, **options)
        else:
            super().save_checkpoint(filename, **options)

    def optim_state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state, whole on the first rank, and what its wrapper adds (base lr, loss scale)."""
        added = self.optim_wrapper.state_dict().items()
        own = FullyShardedDataParallel.optim_state_dict(self.model, self.optim_wrapper.optimizer)
        return {**{key: value for key, value in added if key not in ("state", "param_groups")}, **own}

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `optim_state_dict` returned, each rank its shards.

        Raises:
            UserError: the checkpoint is of a run without FSDP.
        """
        if not all(isinstance(name, str) for name in state_dict["state"]):
            raise UserError("--resume: the checkpoint is of a run without --fsdp; go on without it")
        added = {key: value for key, value in state_dict.items() if key not in ("state", "param_groups")}
        own = FullyShardedDataParallel.optim_state_dict_to_load(self.model, self.optim_wrapper.optimizer, state_dict)
        self.optim_wrapper.load_state_dict({**own, **added})


def transformer_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of all ViTs and Swins in a model."""
    vits: list[Any] = [model.get_submodule(name.rstrip(".")) for name in find_vits(model)]
    swins: list[Any] = [model.get_submodule(name.rstrip(".")) for name in find_swins(model)]
    blocks = [block for vit in vits for block in vit.blocks]
    return blocks + [block for swin in swins for stage in swin.layers for block in stage.blocks]
