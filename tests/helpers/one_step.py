"""One training step of a shipped config, on weights that are drawn quickly."""
import torch
from mmengine.optim import build_optim_wrapper

_NOISE = torch.rand(2**22, generator=torch.Generator().manual_seed(0))


def draw_quickly(monkeypatch):
    """Let large tensors be initialised with windows of one uniform noise: drawing a ViT-B anew takes 2 s and more.

    A normal distribution gets the mean and the std that were asked for, not the tails.
    """
    uniform, normal = torch.Tensor.uniform_, torch.Tensor.normal_

    def noise(tensor):
        start = int(torch.randint(len(_NOISE) - tensor.numel() + 1, ()))
        return tensor.copy_(_NOISE[start : start + tensor.numel()].view(tensor.shape))

    def is_large(tensor):
        return 2**14 < tensor.numel() <= len(_NOISE) and tensor.device.type == "cpu" and tensor.is_floating_point()

    def quick_uniform(self, a=0.0, b=1.0, *, generator=None):
        return noise(self).mul_(b - a).add_(a) if is_large(self) else uniform(self, a, b, generator=generator)

    def quick_normal(self, mean=0.0, std=1.0, *, generator=None):
        if not is_large(self):
            return normal(self, mean, std, generator=generator)
        return noise(self).sub_(0.5).mul_(std * 12**0.5).add_(mean)

    monkeypatch.setattr(torch.Tensor, "uniform_", quick_uniform)
    monkeypatch.setattr(torch.Tensor, "normal_", quick_normal)


def narrow_mlps(backbone: dict) -> None:
    """Give a `TimmViT` MLPs of a quarter of its width: blocks, names, indices and maps stay what the config says, and
    the step of a ViT-B costs half. Of an arch whose MLP is of another kind nothing changes.
    """
    if str(backbone.get("type")).endswith("TimmViT") and "dinov2" not in backbone.arch:
        backbone.model_kwargs = {"mlp_ratio": 0.25, **(backbone.get("model_kwargs") or {})}


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
