"""One training step of a shipped config, and which configs make the same step."""
import torch
from mmengine.optim import build_optim_wrapper


def unique(leaves, what_is_run):
    """Keep the first leaf of those that run the same."""
    kept = {}
    for leaf in leaves:
        kept.setdefault(str(what_is_run(leaf)), leaf)
    return list(kept.values())


def train_one_step(model, cfg, data):
    """Train on a batch: the loss is finite, every trainable parameter gets a gradient, so DDP needs no search for
    unused ones, and the step changes weights. On the meta device there are no values to look at.
    """
    cfg.optim_wrapper.accumulative_counts = 1
    for module in model.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0  # a dropped block has no gradient in this step
    optim_wrapper = build_optim_wrapper(model.train(), cfg.optim_wrapper)
    data = model.data_preprocessor(data, True)
    with optim_wrapper.optim_context(model):
        loss, _ = model.parse_losses(model(**data, mode="loss"))
    optim_wrapper.backward(loss)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and not [name for name, parameter in trained.items() if parameter.grad is None]
    small = [parameter for parameter in trained.values() if parameter.ndim == 1]
    before = [parameter.detach().clone() for parameter in small]
    optim_wrapper.step()
    optim_wrapper.zero_grad()
    if not loss.is_meta:
        assert torch.isfinite(loss)
        assert any(not torch.equal(*pair) for pair in zip(small, before))
