"""FAMT: attention times low-frequency energy decides what is masked and thrown (Gui et al., "Exploring the Coordination
of Frequency and Attention in Masked Image Modeling", IEEE TIP 2025, doi 10.1109/TIP.2025.3592555, arXiv 2211.15362v3).

The text within our reach gives no formula. This is that of the code of the experiments (jsrdcht/famt, util/misc.py);
the low-frequency energy is that of VTC-LFC (Wang et al., NeurIPS 2022), which that code has commented out.

Departures from it: those of `pretrain/masking/amt.py`; maps have mean 1, which changes no draw and suits half
precision; the notch that removes high frequencies sits at the Nyquist frequency L/2 and not at bin (L-1)/2, where it
treats a frequency and its negative differently and the filtered tokens are complex. Here they are real, and half of the
spectrum is enough.
"""
import torch
from torch import Tensor

from mimtransfer.backbones.inspect import BlockView
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from pretrain.masking.amt import AMTMasking


@MASKINGS.register_module()
class FAMTMasking(AMTMasking):
    """Draw patches in proportion to attention times low-frequency energy; else as AMT.

    Register tokens are attended to, so they take their part of the softmax, but no mean runs over them.

    Args:
        attn: `famt` for both terms of the attention below, `amt` for AMT's map.
        freq: `lfe1d` (released), `lfe2d` (ours), see `low_frequency_energy`; `none` for attention alone.
        cutoff: see `low_frequency_energy`.
        **kwargs: see `AMTMasking`.
    """

    def __init__(
        self,
        mask_ratio: float = 0.45,
        throw_ratio: float = 0.40,
        unit: int = 1,
        attn: str = "famt",
        freq: str = "lfe1d",
        cutoff: float = 0.15,
        **kwargs,
    ):
        super().__init__(mask_ratio, throw_ratio, unit, **kwargs)
        if attn not in ("famt", "amt"):
            raise UserError(f"FAMTMasking: got attn={attn!r}; expected 'famt' or 'amt'")
        if freq not in ("lfe1d", "lfe2d", "none"):
            raise UserError(f"FAMTMasking: got freq={freq!r}; expected 'lfe1d', 'lfe2d' or 'none'")
        if cutoff <= 0:
            raise UserError(f"FAMTMasking: got cutoff={cutoff}; expected a positive share of the Nyquist frequency")
        self.attn, self.freq, self.cutoff = attn, freq, cutoff

    def measure(self, block: BlockView) -> Tensor:
        """Return attention times low-frequency energy, [B, h, w] with mean 1."""
        weights = super().measure(block).flatten(1) if self.attn == "amt" else two_term_attention(block)
        if self.freq != "none":
            tokens = block.tokens[:, block.num_prefix_tokens :]
            weights = weights * low_frequency_energy(tokens, block.grid, self.freq, self.cutoff)
        mean = weights.mean(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        return (weights / mean).unflatten(1, block.grid)


def two_term_attention(block: BlockView) -> Tensor:
    """Return FAMT's attention to each patch, [B, L] float32.

    A_j = mean over heads of  (mean_i a_i0) a_0j  +  a_00 (mean_i a_ij), where 0 is the class token and i and j are
    patches: what the class token attends to, the more the patches attend to it, and what the patches attend to, the
    more the class token attends to itself.
    """
    attention, first = block.attention, block.num_prefix_tokens
    by_class = attention[:, :, first:, 0].mean(2)[:, :, None] * block.class_attention
    by_patches = attention[:, :, 0, 0][:, :, None] * attention[:, :, first:, first:].mean(2)
    return (by_class + by_patches).mean(1)


def low_frequency_energy(tokens: Tensor, grid: tuple[int, int], kind: str = "lfe1d", cutoff: float = 0.15) -> Tensor:
    """Return how strong the low frequencies are at each patch, over the mean strength of all frequencies.

    F_j = sum_c |y_cj| / mean_k sum_c |x_ck|, where y are the low frequencies of the tokens x.

    Args:
        tokens: [B, L, D] float, patches only, row-major.
        grid: (h, w).
        kind: `lfe1d` takes the rows one after the other as one signal of length L, as the authors do; `lfe2d` (ours)
            takes the image as it is, so that the end of a row is no neighbour of the next one's beginning.
        cutoff: width of what is removed, see `low_pass`.

    Returns:
        [B, L] float32, >= 0.
    """
    x = tokens.float()  # half precision has no transforms of lengths that are no power of two
    if kind == "lfe1d":
        frequency = torch.fft.rfftfreq(x.shape[1], device=x.device)
        y = torch.fft.irfft(torch.fft.rfft(x, dim=1) * low_pass(frequency, cutoff)[:, None], n=x.shape[1], dim=1)
    else:
        by_row = torch.fft.fftfreq(grid[0], device=x.device)[:, None]
        by_column = torch.fft.rfftfreq(grid[1], device=x.device)
        transfer = low_pass(torch.hypot(by_row, by_column), cutoff)[:, :, None]
        spectrum = torch.fft.rfft2(x.unflatten(1, grid), dim=(1, 2))
        y = torch.fft.irfft2(spectrum * transfer, s=grid, dim=(1, 2)).flatten(1, 2)
    return y.abs().sum(2) / x.abs().sum(2).mean(1, keepdim=True)


def low_pass(frequency: Tensor, cutoff: float) -> Tensor:
    """Return 1 - exp(-(1 - 2f)^2 / (2 cutoff^2)): all but a Gaussian around the Nyquist frequency, and nothing beyond.

    With f = n / L this is the authors' 1 - exp(-(n - L/2)^2 / (2 (L cutoff / 2)^2)).

    Args:
        frequency: any shape, in cycles per token; in two dimensions the length of the frequency vector.
        cutoff: std of the Gaussian, as a share of the Nyquist frequency.
    """
    distance = (1 - 2 * frequency.abs()).clamp_min(0)
    return 1 - (-distance.square() / (2 * cutoff**2)).exp()
