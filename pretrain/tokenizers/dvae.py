"""The discrete VAE of DALL-E: Ramesh et al. 2021, arXiv 2102.12092, sec. 2.1; the tokenizer of BEiT.

Convolutions in four groups with a pooling between them: one of 8192 codes for each 8 x 8 pixels. BEiT halves its 224
pixels for it, so that 112 pixels give the 14 x 14 patches of a ViT.

Same weights and image give the ids and pictures of the official code (openai/DALL-E) in float32. On a GPU convolutions
run in float16, as there, but for the one that gives the logits (TF32); docs/gpu.md says what that changes. An image of
another size than `input_size` is resized on the device, where BEiT's loader cuts the crop from the file a second time.
"""
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimtransfer.backbones.cnn import put_channels_last
from mimtransfer.checkpoints.safe_load import read_pickled_module
from mimtransfer.errors import UserError
from mimtransfer.files import sha256_file
from mimtransfer.registry import TOKENIZERS
from mimtransfer.training.precision import tf32
from pretrain.aug_record import AugRecord
from pretrain.tokenizers.base import Tokenizer, check_file, load_all, resize

_ADDRESS = "https://cdn.openai.com/dall-e/"
# Pixels were squeezed from [0, 1] to [0.1, 0.9] for the logit-Laplace distribution (appendix A.3).
_MARGIN = 0.1
_IMAGES = 32  # at once: logits of 128 images, 14 x 14 cells and 8192 codes would be 0.8 GB
_CLASSES = [f"dall_e.{name}" for name in ("encoder.Encoder", "encoder.EncoderBlock", "decoder.Decoder",
                                          "decoder.DecoderBlock", "utils.Conv2d")]
_CLASSES += [f"torch.nn.modules.{name}" for name in ("container.Sequential", "activation.ReLU", "pooling.MaxPool2d",
                                                     "linear.Identity", "upsampling.Upsample")]


@TOKENIZERS.register_module()
class DALLETokenizer(Tokenizer):
    """Name each 8 x 8 pixels by the likeliest code of DALL-E's encoder; widths and codebook are those of the file.

    Args:
        checkpoint: `encoder.pkl` of https://cdn.openai.com/dall-e/, a pickled module that is read without running its
            code, or its state dict.
        decoder: `decoder.pkl` from there, to show codes as pictures; None: they have none.
        input_size: side of the square that images are resized to, which decides the grid; None: they stay as they are.

    Raises:
        UserError: a file is missing, or is not what it should be.
    """

    def __init__(self, checkpoint: str, decoder: str | None = None, input_size: int | None = 112):
        encoder = _build(checkpoint, "encoder.pkl", nn.MaxPool2d(2))
        num_codes = encoder.blocks.output.conv.w.shape[0]
        source = "dVAE of DALL-E" + (f", {input_size} pixels" if input_size else "")
        super().__init__(num_codes, dict(sha256=sha256_file(checkpoint), source=source))
        self.encoder = encoder
        self.decoder = _build(decoder, "decoder.pkl", nn.Upsample(scale_factor=2)) if decoder else None
        if self.decoder is not None and self.decoder.blocks.input.w.shape[1] != num_codes:
            raise UserError(f"DALLETokenizer: {decoder!r} decodes {self.decoder.blocks.input.w.shape[1]} codes, "
                            f"{checkpoint!r} has {num_codes}; give the decoder.pkl of the same model")
        if input_size and input_size % 8:
            raise UserError(f"DALLETokenizer: got input_size={input_size}, expected a multiple of 8")
        self.input_size = input_size

    def encode(self, images: Tensor, record: AugRecord | None) -> Tensor:
        if self.input_size:
            images = resize(images, self.input_size)
        elif any(side % 8 for side in images.shape[-2:]):
            raise UserError(f"DALLETokenizer: got images of {images.shape[-2]} x {images.shape[-1]} pixels, expected a "
                            "multiple of 8: change the crop size, or set input_size")
        images = images * (1 - 2 * _MARGIN) + _MARGIN
        if not images.is_cuda:
            return torch.cat([self.encoder(part).argmax(1) for part in images.split(_IMAGES)])
        with tf32():
            return torch.cat([self.encoder(part.half()).argmax(1) for part in images.split(_IMAGES)])

    def _apply(self, fn, recurse: bool = True) -> nn.Module:
        super()._apply(fn, recurse)
        if next(self.encoder.parameters()).is_cuda:
            put_channels_last(self.encoder)
        return self

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor | None:
        """Return pictures of 8 x 8 pixels for each code, [B, 3, 8*h, 8*w], when there is a decoder."""
        if self.decoder is None:
            return None
        one_hot = F.one_hot(ids, self.num_codes).permute(0, 3, 1, 2).float()
        statistics = self.decoder(one_hot)  # [B, 6, 8*h, 8*w]: mean and scale of each channel
        return ((statistics[:, :3].sigmoid() - _MARGIN) / (1 - 2 * _MARGIN)).clamp(0, 1)


class _Network(nn.Module):
    """The encoder (`between` halves maps) or the decoder (`between` doubles them) that a state dict is of."""

    def __init__(self, state: Mapping[str, Tensor], between: nn.Module):
        super().__init__()
        num_blocks = sum(f"blocks.group_1.block_{i}.res_path.conv_1.w" in state for i in range(1, 100))
        blocks: OrderedDict[str, nn.Module] = OrderedDict(input=_Conv(state, "blocks.input"))
        for i in range(1, 5):
            group = [(f"block_{j}", _Block(state, f"blocks.group_{i}.block_{j}", 1 / (4 * num_blocks) ** 2))
                     for j in range(1, 1 + num_blocks)]
            blocks[f"group_{i}"] = nn.Sequential(OrderedDict(group + [("between", between)] * (i < 4)))
        output = OrderedDict(relu=nn.ReLU(), conv=_Conv(state, "blocks.output.conv"))
        self.blocks: Any = nn.Sequential(OrderedDict(blocks, output=nn.Sequential(output)))

    def forward(self, x: Tensor) -> Tensor:
        """Compute in the type of `x`, but the last convolution in float32: its sums decide between codes."""
        *body, output = self.blocks
        for module in body:
            x = module(x)
        return output(x.float())


class _Block(nn.Module):
    """Four convolutions, each after a ReLU, beside an identity or a projection."""

    def __init__(self, state: Mapping[str, Tensor], name: str, gain: float):
        super().__init__()
        self.gain = gain
        self.id_path = _Conv(state, f"{name}.id_path") if f"{name}.id_path.w" in state else nn.Identity()
        path: OrderedDict[str, nn.Module] = OrderedDict()
        for i in range(1, 5):
            path |= {f"relu_{i}": nn.ReLU(), f"conv_{i}": _Conv(state, f"{name}.res_path.conv_{i}")}
        self.res_path = nn.Sequential(path)

    def forward(self, x: Tensor) -> Tensor:
        return self.id_path(x) + self.gain * self.res_path(x)


class _Conv(nn.Module):
    """A convolution that keeps the size, in the type of its input; weights are `w` and `b`, float32."""

    def __init__(self, state: Mapping[str, Tensor], name: str):
        super().__init__()
        self.w, self.b = (nn.Parameter(torch.empty(state[f"{name}.{part}"].shape)) for part in "wb")

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.w.to(x.dtype), self.b.to(x.dtype), padding=self.w.shape[-1] // 2)


def _build(path: str, name: str, between: nn.Module) -> _Network:
    check_file(path, "DALLETokenizer", f"download {_ADDRESS}{name} and put it there")
    state = read_pickled_module(path, _CLASSES)
    try:
        network = _Network(state, between)
    except KeyError as error:
        raise UserError(f"DALLETokenizer: {path!r} holds no {error.args[0]}; expected {name} of {_ADDRESS}") from error
    kind = "encoder.pkl" if state["blocks.input.w"].shape[1] == 3 else "decoder.pkl"
    if kind != name:
        raise UserError(f"DALLETokenizer: {path!r} is DALL-E's {kind}, expected its {name}")
    load_all(network, state, path)
    return network
