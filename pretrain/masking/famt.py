"""FAMT: attention times low-frequency energy decides what is masked and thrown (Gui et al., "Exploring the Coordination
of Frequency and Attention in Masked Image Modeling", IEEE TIP 2025, doi 10.1109/TIP.2025.3592555, arXiv 2211.15362v3).

The text within our reach gives no formula. This is that of the code of the experiments (jsrdcht/famt, util/misc.py).
Departures from it: those of `pretrain/masking/amt.py` and `pretrain/frequency.py`; maps have mean 1, which changes no
draw and suits half precision.
"""
import torch
from torch import Tensor

from mimtransfer.backbones.probe import Probe
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from pretrain.frequency import low_frequency_energy
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

    def measure(self, probe: Probe) -> Tensor:
        """Return attention times low-frequency energy, [B, h, w] with mean 1."""
        weights = super().measure(probe).flatten(1) if self.attn == "amt" else two_term_attention(probe)
        if self.freq != "none":
            tokens = probe.tokens[:, probe.num_prefix_tokens :]
            weights = weights * low_frequency_energy(tokens, probe.grid, self.freq, self.cutoff)
        mean = weights.mean(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        return (weights / mean).unflatten(1, probe.grid)


def two_term_attention(probe: Probe) -> Tensor:
    """Return FAMT's attention to each patch, [B, L] float32.

    A_j = mean over heads of  (mean_i a_i0) a_0j  +  a_00 (mean_i a_ij), where 0 is the class token and i and j are
    patches: what the class token attends to, the more the patches attend to it, and what the patches attend to, the
    more the class token attends to itself.
    """
    attention, first = probe.attention, probe.num_prefix_tokens
    by_class = attention[:, :, first:, 0].mean(2)[:, :, None] * probe.class_attention
    by_patches = attention[:, :, 0, 0][:, :, None] * attention[:, :, first:, first:].mean(2)
    return (by_class + by_patches).mean(1)
