"""FAMTMasking: weights against a plain float64 ViT and a whole Fourier spectrum."""
import numpy as np
import pytest
import torch
from reference_vit import reference_blocks, tiny_vit

from mimtransfer.backbones.inspect import view_block
from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from pretrain.aug_record import AugRecord
from pretrain.masking.amt import AMTMasking
from pretrain.masking.bank import MapBank
from pretrain.masking.famt import FAMTMasking, two_term_attention


def two_terms(attention, first):
    """[K, N, N] -> [L], one patch and one head after the other."""
    num_heads, num_tokens, _ = attention.shape
    patches = range(first, num_tokens)
    weights = []
    for j in patches:
        total = 0.0
        for a in attention:
            seen_by_patches = np.mean([a[i, 0] for i in patches])
            received = np.mean([a[i, j] for i in patches])
            total += seen_by_patches * a[0, j] + a[0, 0] * received
        weights.append(total / num_heads)
    return np.array(weights)


def low_frequencies(x, cutoff=0.15):
    """[L, D] -> [L]; magnitude and phase apart, as in the released code, but with the notch at L / 2."""
    length = len(x)
    spectrum = np.fft.fft(x, axis=0, norm="ortho")
    notch = 1 - np.exp(-((np.arange(length) - length / 2) ** 2) / (2 * (length * cutoff / 2) ** 2))
    y = np.fft.ifft(notch[:, None] * np.abs(spectrum) * np.exp(1j * np.angle(spectrum)), axis=0, norm="ortho")
    return np.abs(y).sum(1) / np.abs(x).sum(1).mean()


@torch.inference_mode()
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("kwargs", [{}, dict(reg_tokens=2), dict(qk_norm=True)], ids=["plain", "registers", "qk-norm"])
def test_weights_equal_the_float64_reference(kwargs, fused):
    vit, images = tiny_vit(model_kwargs=kwargs), torch.randn(2, 3, 24, 40)
    for block in vit.blocks:
        block.attn.fused_attn = fused
    found, first = view_block(vit, images), vit.num_prefix_tokens
    got = FAMTMasking().measure(found)
    alone = FAMTMasking(freq="none").measure(found)
    assert got.shape == (2, 3, 5) and got.dtype == torch.float32
    last = reference_blocks(vit, images)[-1]
    for b in range(2):
        attention = two_terms(last.attention[b], first)
        np.testing.assert_allclose(two_term_attention(found)[b].numpy(), attention, rtol=1e-5)
        np.testing.assert_allclose(alone[b].flatten().numpy(), attention / attention.mean(), rtol=1e-5)
        weights = attention * low_frequencies(last.tokens[b, first:])
        np.testing.assert_allclose(got[b].flatten().numpy(), weights / weights.mean(), rtol=1e-5)


@torch.inference_mode()
def test_each_option_changes_its_factor_only():
    vit, images = tiny_vit(model_kwargs=dict(reg_tokens=2)), torch.randn(2, 3, 24, 40)
    found = view_block(vit, images)

    def factor(**options):
        return FAMTMasking(**options).measure(found)

    for freq in ("lfe1d", "lfe2d"):
        ratios = [factor(attn=attn, freq=freq) / factor(attn=attn, freq="none") for attn in ("famt", "amt")]
        ratios = [ratio / ratio.amax((1, 2), keepdim=True) for ratio in ratios]
        seen = factor(attn="amt", freq="none") > 1e-3
        torch.testing.assert_close(ratios[0][seen], ratios[1][seen], rtol=1e-5, atol=1e-6)
        assert ratios[0].std() > 0.01
    amt = AMTMasking().measure(found)
    torch.testing.assert_close(factor(attn="amt", freq="none"), amt / amt.mean((1, 2), keepdim=True))
    assert (factor() - factor(freq="lfe2d")).abs().max() > 0.01
    assert (factor() - factor(cutoff=0.6)).abs().max() > 0.01


class Found:
    """A block view of one head with made-up values."""

    def __init__(self, attention, tokens, grid):
        self.attention, self.tokens, self.grid, self.num_prefix_tokens = attention, tokens, grid, 1

    @property
    def class_attention(self):
        return self.attention[:, :, 0, 1:]


def test_maps_of_large_grids_and_tiny_or_huge_tokens_survive_half_precision():
    # 64 x 64 patches: attentions near 1 / 4097, their products near 6e-8, below what float16 can tell apart.
    random = torch.Generator().manual_seed(0)
    attention = torch.randn(1, 1, 4097, 4097, generator=random).softmax(-1)
    tokens = torch.randn(1, 4097, 2, generator=random)
    strategy = FAMTMasking()
    maps = [strategy.measure(Found(attention, scale * tokens, (64, 64)))[0] for scale in (1e-8, 1.0, 1e8)]
    for map_ in maps:
        assert abs(map_.mean() - 1) < 1e-5
        np.testing.assert_allclose(map_.half().float(), maps[1], rtol=1e-3)
    heads_alike = torch.full((1, 1, 5, 5), 0.2)
    for attn in ("amt", "famt"):  # nothing stands out: no division by zero
        map_ = FAMTMasking(attn=attn).measure(Found(heads_alike, torch.ones(1, 5, 3), (2, 2)))
        assert torch.equal(map_, torch.full((1, 2, 2), {"amt": 0.0, "famt": 1.0}[attn]))


def test_under_bfloat16_autocast_nothing_is_rounded_after_the_view():
    random = torch.Generator().manual_seed(0)
    found = Found(torch.randn(2, 3, 16, 16, generator=random).softmax(-1), torch.randn(2, 16, 8, generator=random),
                  (3, 5))
    for options in ({}, dict(freq="lfe2d"), dict(attn="amt")):
        exact = FAMTMasking(**options).measure(found)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(FAMTMasking(**options).measure(found), exact)


def test_the_scale_of_a_map_changes_no_draw():
    map_ = np.random.default_rng(0).random((1, 4, 6)).astype(np.float32)
    record = AugRecord(torch.zeros(8).long(), torch.arange(8), torch.tensor([0.1, 0.0, 0.9, 0.7]).expand(8, 4),
                       torch.arange(8) % 2 == 0)
    layouts = []
    for scale in (1.0, 2.0**-6, 2.0**6):
        strategy = FAMTMasking()
        strategy.bank = MapBank(map_ * scale)
        layouts.append(strategy(torch.zeros(8, 3, 8, 12), record, (4, 6), SampleGenerator(record.seed)))
    assert all(torch.equal(a, b) for layout in layouts[1:] for a, b in zip(layout, layouts[0]))


def test_from_a_config_and_refusals():
    strategy = MASKINGS.build(dict(type="FAMTMasking", throw="lowest", legacy_crop=True, freq="lfe2d",
                                   warmup=dict(type="RandomMasking", mask_ratio=0.75)))
    assert (strategy.mask_ratio, strategy.throw_ratio, strategy.warmup.mask_ratio) == (0.45, 0.40, 0.75)
    assert (strategy.throw, strategy.legacy_crop, strategy.attn, strategy.freq) == ("lowest", True, "famt", "lfe2d")
    with pytest.raises(UserError, match="FAMTMasking: got attn='cls'; expected 'famt' or 'amt'"):
        FAMTMasking(attn="cls")
    with pytest.raises(UserError, match="FAMTMasking: got freq='fft'; expected 'lfe1d', 'lfe2d' or 'none'"):
        FAMTMasking(freq="fft")
    with pytest.raises(UserError, match="FAMTMasking: got cutoff=0; expected a positive share"):
        FAMTMasking(cutoff=0)
    with pytest.raises(UserError, match="the encoder has no class token"):
        FAMTMasking().measure(view_block(tiny_vit(model_kwargs=dict(class_token=False)), torch.zeros(1, 3, 24, 40)))
