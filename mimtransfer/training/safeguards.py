"""What every training gets, whatever its config says: also a user's own config of mmdet or mmseg."""
from __future__ import annotations

from mmengine.config import Config

from mimtransfer.errors import UserError
from mimtransfer.training.loading import set_loading

_OURS = "mimtransfer.WholeCheckpointHook"


def set_safeguards(cfg: Config, save_on_signal: bool = False, save_every_iters: int | None = None,
                   async_save: bool = False) -> None:
    """Let a run stop at NaN, keep whole checkpoints, repeat its randomness when it is resumed, and log without waiting
    for the device; and fit its loaders to the machine.

    mmengine's `CheckpointHook` and `RuntimeInfoHook` become ours, with the options that they have; a hook of the user's
    own stays.

    Args:
        save_on_signal: `WholeCheckpointHook` has it, as what follows.
        save_every_iters: also in a run by epochs, there beside the checkpoints of epochs.
        async_save: write in the background.

    Raises:
        UserError: one of these is wanted of a run without checkpoints, or with another hook for them.
    """
    set_loading(cfg)
    hooks = list(cfg.get("custom_hooks") or [])
    names = {_name(hook) for hook in hooks}
    hooks += [dict(type=f"mimtransfer.{name}") for name in ("FiniteLossHook", "ExactResumeHook") if name not in names]
    cfg.custom_hooks = hooks
    if cfg.get("default_hooks") is None:
        cfg.default_hooks = {}
    defaults = cfg.default_hooks  # the config's own copy
    checkpoint = defaults.get("checkpoint", dict(type="CheckpointHook"))
    if checkpoint is not None and _name(checkpoint) == "CheckpointHook":
        defaults["checkpoint"] = {**checkpoint, "type": _OURS}
    info = defaults.get("runtime_info", dict(type="RuntimeInfoHook"))
    if info is not None and _name(info) == "RuntimeInfoHook":
        defaults["runtime_info"] = {**info, "type": "mimtransfer.DeferredInfoHook"}
    wanted = {"--save-on-sigterm": save_on_signal, "--save-every-iters": save_every_iters is not None,
              "--async-save": async_save}
    for option in (option for option, given in wanted.items() if given):
        if not defaults.get("checkpoint") or defaults["checkpoint"]["type"] != _OURS:
            raise UserError(f"{option} needs default_hooks.checkpoint of type CheckpointHook, "
                            f"got {defaults.get('checkpoint')!r}")
    if save_on_signal:
        defaults["checkpoint"]["save_on_signal"] = True
    if async_save:
        defaults["checkpoint"]["async_save"] = True
    if save_every_iters is not None:
        if save_every_iters < 1:
            raise UserError(f"--save-every-iters {save_every_iters}: expected 1 or more")
        by_epoch = defaults["checkpoint"].get("by_epoch", True)
        defaults["checkpoint"]["iter_interval" if by_epoch else "interval"] = save_every_iters


def _name(hook: dict) -> str:
    kind = hook.get("type")
    return (kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))).rpartition(".")[2]
