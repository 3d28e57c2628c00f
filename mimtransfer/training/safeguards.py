"""What every training gets, whatever its config says: also a user's own config of mmdet or mmseg."""
from __future__ import annotations

from mmengine.config import Config

from mimtransfer.errors import UserError
from mimtransfer.training.loading import set_loading

_OURS = "mimtransfer.WholeCheckpointHook"


def set_safeguards(cfg: Config, save_on_signal: bool = False) -> None:
    """Let a run stop at NaN, keep whole checkpoints, repeat its randomness when it is resumed, and log without waiting
    for the device; and fit its loaders to the machine.

    mmengine's `CheckpointHook` and `RuntimeInfoHook` become ours, with the options that they have; a hook of the user's
    own stays.

    Raises:
        UserError: a checkpoint on a signal is wanted of a run without checkpoints, or with another hook for them.
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
    if save_on_signal:
        if not defaults.get("checkpoint") or defaults["checkpoint"]["type"] != _OURS:
            raise UserError("--save-on-sigterm needs default_hooks.checkpoint of type CheckpointHook, "
                            f"got {defaults.get('checkpoint')!r}")
        defaults["checkpoint"]["save_on_signal"] = True


def _name(hook: dict) -> str:
    kind = hook.get("type")
    return (kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))).rpartition(".")[2]
