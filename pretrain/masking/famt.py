"""FAMT: attention times low-frequency energy decides what is masked first and what is thrown.

"Frequency and attention" masking and throwing, arXiv 2211.15362 v3 (IEEE TIP 2025, doi 10.1109/tip.2025.3592555). The
printed weight was not within our reach; the formula is that of the code which bears the name (jsrdcht/famt, where the
frequency factor is commented out in the stored commit). Departures from it: the filter is Hermitian-symmetric (see
`pretrain/frequency.py`), weights have mean 1 (only ratios count, and half precision has to hold them), and what
`pretrain/masking/amt.py` says of the crop.
"""
from torch import Tensor

from mimtransfer.backbones.probe import Probe
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from pretrain.frequency import KINDS, low_frequency_energy
from pretrain.masking.amt import AMTMasking


@MASKINGS.register_module()
class FAMTMasking(AMTMasking):
    """Draw patches in proportion to attention x low-frequency energy of the last block.

    Args:
        attn: `famt`, two terms: what the class token attends to, weighted by how much the patches attend to it, and
            what the patches attend to, weighted by how much the class token attends to itself; `amt`, AMT's map.
        freq: `lfe1d` (FAMT's code), `lfe2d` (ours) or `none`; see `low_frequency_energy`.
        cutoff: of the low-pass filter, share of the spectrum in (0, 1].
        **kwargs: of `AMTMasking`.
    """

    def __init__(self, attn: str = "famt", freq: str = "lfe1d", cutoff: float = 0.15, **kwargs):
        super().__init__(**kwargs)
        if attn not in ("famt", "amt") or freq not in (*KINDS, "none") or not 0 < cutoff <= 1:
            raise UserError(
                f"FAMTMasking: got attn={attn!r}, freq={freq!r}, cutoff={cutoff}; expected attn 'famt' or 'amt', freq "
                f"{', '.join(map(repr, KINDS))} or 'none', cutoff in (0, 1]"
            )
        self.attn, self.freq, self.cutoff = attn, freq, cutoff

    def measure(self, probe: Probe) -> Tensor:
        """Return the weights of whole images, mean 1: [B, h, w]."""
        weights = super().measure(probe) if self.attn == "amt" else self.two_term_attention(probe)
        if self.freq != "none":
            patches = probe.tokens[:, probe.num_prefix_tokens :]
            energy = low_frequency_energy(patches, probe.grid, self.freq, self.cutoff)
            weights = weights * energy.unflatten(1, probe.grid)
        return weights / weights.mean((1, 2), keepdim=True)

    @staticmethod
    def two_term_attention(probe: Probe) -> Tensor:
        """Return A_j = mean_heads(mean_i a_i0 * a_0j + a_00 * mean_i a_ij), [B, h, w]; i, j are patches, 0 the class
        token. Registers, where there are any, are neither.
        """
        to_patches = probe.class_attention  # [B, K, L], a_0j
        attention, first = probe.attention, probe.num_prefix_tokens
        to_class = attention[:, :, first:, 0].mean(-1, keepdim=True)  # [B, K, 1]
        received = attention[:, :, first:, first:].mean(2)  # [B, K, L]
        weights = to_class * to_patches + attention[:, :, 0, :1] * received
        return weights.mean(1).unflatten(1, probe.grid)
