"""From a pretraining checkpoint back to the whole method: encoder, strategy, decoder, preprocessor."""
import os
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mimtransfer.checkpoints.channels import RGB, check_in_chans
from mimtransfer.checkpoints.recorded_config import build_recorded
from mimtransfer.checkpoints.safe_load import read_checkpoint, state_dict_of
from mimtransfer.cli import launch
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS, MODELS
from pretrain.masking.base import MaskingStrategy
from pretrain.methods.base import MIMethod


def load_method(cfg: Config, path: str, own_config: bool = False) -> MIMethod:
    """Build a method, in evaluation mode, with the weights of a checkpoint.

    Args:
        cfg: config of a pretraining, the checkpoint's own (`config_in_checkpoint`) or one like it.
        path: checkpoint file.
        own_config: the config is a file of the user's, so it may name any class, and not the checkpoint's.

    Raises:
        UserError: config or file is not of a pretraining, or they do not fit.
    """
    import pretrain.methods  # noqa: F401  registers them

    if not isinstance(cfg.get("model"), dict) or "encoder" not in cfg.model:
        raise UserError(f"checkpoint {path!r}: its config is not of a pretraining, expected a model with an encoder; "
                        "give a checkpoint of tools/pretrain.py, or the right --config")
    if own_config:
        launch.enter_scope(cfg)
        method = MODELS.build(cfg.model)
    else:
        init_default_scope("mimtransfer")
        method = build_recorded(MODELS, cfg.model, f"checkpoint {path!r}", os.path.getsize(path))
    if not isinstance(method, MIMethod):
        raise UserError(f"checkpoint {path!r}: its config is of a {type(method).__name__}, expected a pretraining "
                        "method; give a checkpoint of tools/pretrain.py")
    launch.check_checkpoint(method, path)
    state = state_dict_of(read_checkpoint(path), path)
    unexpected = method.load_state_dict(state, strict=False).unexpected_keys
    if unexpected:
        raise UserError(f"checkpoint {path!r} holds {len(unexpected)} tensors that the config's {cfg.model.type} has "
                        f"not, the first is {unexpected[0]!r}; give the config it was trained with")
    return method.eval()


def image_size(cfg: Config, path: str) -> int | tuple[int, int]:
    """Return the size of the training images that a config says.

    Raises:
        UserError: it says none, or one that is no side or height and width in pixels.
    """
    node: Any = cfg.get("train_dataloader")
    for key in ("dataset", "transform", "size"):
        node = node.get(key) if isinstance(node, dict) else None
    sides = node if isinstance(node, (list, tuple)) else [node, node]
    if len(sides) != 2 or not all(isinstance(side, int) and 0 < side <= 8192 for side in sides):
        raise UserError(f"checkpoint {path!r}: train_dataloader.dataset.transform.size of its config is "
                        f"{repr(node)[:80]}, expected the side of an image in pixels; give the right --config")
    return tuple(sides) if sides is node else node


def decoding_of(cfg: Config, path: str) -> tuple[str, int]:
    """Return decoder and number of channels of the training images that a config says.

    Raises:
        UserError: they are no such values.
    """
    dataset = (cfg.get("train_dataloader") or {}).get("dataset")
    dataset = dataset if isinstance(dataset, dict) else {}
    decoder, in_chans = dataset.get("decoder", "auto"), dataset.get("in_chans", RGB)
    check_in_chans(f"checkpoint {path!r}", in_chans)
    if not isinstance(decoder, str):
        raise UserError(f"checkpoint {path!r}: train_dataloader.dataset.decoder is {repr(decoder)[:80]}, expected a "
                        "name; give the right --config")
    return decoder, in_chans


def other_strategy(method: MIMethod, name: str) -> MaskingStrategy:
    """Build another strategy with the ratios and the unit of the method's own.

    Raises:
        UserError: the method masks nothing.
    """
    own = method.strategy
    if own is None:
        raise UserError(f"--strategy {name}: {type(method).__name__} masks no patches, so it takes no strategy")
    unit = {} if own.unit == 1 else {"unit": own.unit}
    return MASKINGS.build(dict(type=name, mask_ratio=own.mask_ratio, throw_ratio=own.throw_ratio, **unit))
