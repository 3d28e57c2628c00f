"""One training step of a shipped config, with narrow layers and weights that are drawn quickly."""
import torch
from mmengine.optim import build_optim_wrapper

VIT_WIDTHS = dict(tiny=192, small=384, base=768, large=1024, huge=1280)
SWIN_WIDTHS = dict(tiny=96, small=96, base=128, large=192)
WIDTH_KEYS = (
    "channels", "conv_out_channels", "embed_dim", "embed_dims", "fc_out_channels", "feat_channels",
    "feedforward_channels", "in_channels", "num_feats", "out_channels",
)
_NOISE = torch.rand(2**22, generator=torch.Generator().manual_seed(0))


def draw_quickly(monkeypatch):
    """Let large tensors be initialised with windows of one uniform noise: drawing a ViT-B anew takes 2 s and more.

    A normal distribution gets the mean and the std that were asked for, not the tails. On the meta device there is
    nothing to draw, yet torch takes milliseconds for each tensor: half the time that building a model takes there.
    """
    def noise(tensor):
        start = int(torch.randint(len(_NOISE) - tensor.numel() + 1, ()))
        return tensor.copy_(_NOISE[start : start + tensor.numel()].view(tensor.shape))

    def quick_uniform(self, a=0.0, b=1.0, *, generator=None):
        return noise(self).mul_(b - a).add_(a)

    def quick_normal(self, mean=0.0, std=1.0, *, generator=None):
        return noise(self).sub_(0.5).mul_(std * 12**0.5).add_(mean)

    for name, quick in dict(uniform_=quick_uniform, normal_=quick_normal, erfinv_=None, clamp_=None).items():
        monkeypatch.setattr(torch.Tensor, name, _in_place(getattr(torch.Tensor, name), quick))


def _in_place(slow, quick):
    def fill(self, *args, **kwargs):
        if self.is_meta:
            return self
        is_large = 2**14 < self.numel() <= len(_NOISE) and self.device.type == "cpu" and self.is_floating_point()
        return (quick if quick and is_large else slow)(self, *args, **kwargs)

    return fill


def narrow(model: dict, kept: tuple[int, ...] = ()) -> None:
    """Divide the widths of a model's config by eight, where they are 128 or more: blocks, layers, names, indices and
    the number of maps stay what the config says, and widths that do not fit each other still do not. `kept` stay.
    """
    backbone = model.get("backbone") or model.encoder
    kind, size = str(backbone.get("type")).rpartition(".")[2], backbone.arch.partition("_")[2].partition("_")[0]
    widths = {}
    if kind == "TimmViT":
        widths = dict(embed_dim=VIT_WIDTHS[size] // 8)
    elif kind == "TimmSwin":
        widths = dict(embed_dim=SWIN_WIDTHS[size] // 8)
    elif backbone.arch == "resnet50":
        widths = dict(channels=(8, 16, 32, 64))
    _narrow(model, kept)
    backbone.model_kwargs = {**widths, **(backbone.get("model_kwargs") or {})}


def _narrow(node, kept):
    def divide(width):
        return width // 8 if width >= 128 and width not in kept else width

    for key, value in node.items():
        if key in WIDTH_KEYS and isinstance(value, int | list | tuple):
            node[key] = divide(value) if isinstance(value, int) else type(value)(map(divide, value))
        for child in value if isinstance(value, list | tuple) else [value]:
            if isinstance(child, dict):
                _narrow(child, kept)


def train_one_step(model, cfg, data):
    """Train on a batch: the loss is finite, every trainable parameter gets a gradient, so DDP needs no search for
    unused ones, and the step changes weights.
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
    assert torch.isfinite(loss)
    assert any(not torch.equal(*pair) for pair in zip(small, before))
