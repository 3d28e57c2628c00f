"""From a pretraining checkpoint back to the whole method: encoder, strategy, decoder, preprocessor."""
from mmengine.config import Config

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.cli import launch
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS, MODELS
from pretrain.masking.base import MaskingStrategy
from pretrain.methods.base import MIMethod


def load_method(cfg: Config, path: str) -> MIMethod:
    """Build a method, in evaluation mode, with the weights of a checkpoint.

    Args:
        cfg: config of a pretraining, the checkpoint's own (`config_in_checkpoint`) or one like it.
        path: checkpoint file.

    Raises:
        UserError: config or file is not of a pretraining, or they do not fit.
    """
    import pretrain.methods  # noqa: F401  registers them

    launch.enter_scope(cfg)
    if "encoder" not in cfg.get("model", {}):
        raise UserError(f"checkpoint {path!r}: its config is not of a pretraining, expected a model with an encoder; "
                        "give a checkpoint of tools/pretrain.py, or the right --config")
    method = MODELS.build(cfg.model)
    launch.check_checkpoint(method, path)
    unexpected = method.load_state_dict(read_checkpoint(path)["state_dict"], strict=False).unexpected_keys
    if unexpected:
        raise UserError(f"checkpoint {path!r} holds {len(unexpected)} tensors that the config's {cfg.model.type} has "
                        f"not, the first is {unexpected[0]!r}; give the config it was trained with")
    return method.eval()


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
