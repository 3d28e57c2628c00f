"""Artifact scores: made-up attention with known scores, and plain float64 formulas."""
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from mimtransfer.backbones.inspect import SCORES, analyze, artifact_scores, received_attention
from mimtransfer.backbones.vit import TimmViT


def made_up(attention: Tensor, num_prefix: int = 1, has_class_token: bool = True) -> SimpleNamespace:
    """Stand in for a BlockView: attention [B, K, P+L, P+L]."""
    return SimpleNamespace(attention=attention, class_attention=attention[:, :, 0, num_prefix:],
                           num_prefix_tokens=num_prefix, has_class_token=has_class_token)


@pytest.mark.parametrize("has_class_token", [True, False])
@pytest.mark.parametrize("num_patches, top", [(196, 1), (64, 1), (400, 4)])
def test_even_attention(num_patches, top, has_class_token):
    num_prefix = int(has_class_token)
    tokens = num_patches + num_prefix
    scores = artifact_scores(made_up(torch.full((2, 3, tokens, tokens), 1 / tokens), num_prefix, has_class_token))
    assert set(scores) == set(SCORES)
    torch.testing.assert_close(scores["top_share"], torch.full((2,), top / num_patches))
    torch.testing.assert_close(scores["max_over_mean"], torch.ones(2))
    torch.testing.assert_close(scores["entropy"], torch.ones(2))


def test_all_attention_on_one_patch():
    attention = torch.zeros(1, 2, 50, 50)
    attention[..., 17] = 1.0
    scores = artifact_scores(made_up(attention))
    assert {name: value.item() for name, value in scores.items()} == {"top_share": 1, "max_over_mean": 49, "entropy": 0}


def test_prefix_tokens_do_not_count():
    # Patches give 90 % to two registers, the class token 90 % to itself; what is left is even.
    attention = torch.full((1, 1, 13, 13), 0.01)
    attention[:, :, 3:, 1:3] = 0.45
    attention[:, :, 0, 0] = 0.9
    attention[:, :, :3, 5] += 0.001  # rows of prefix tokens matter for the entropy alone
    scores = artifact_scores(made_up(attention, num_prefix=3))
    torch.testing.assert_close(scores["max_over_mean"], torch.ones(1))
    assert 0.99 < scores["entropy"].item() < 1


@pytest.mark.parametrize("has_class_token", [True, False])
def test_scores_against_plain_formulas(has_class_token):
    batch, heads, num_prefix, num_patches = 2, 3, 2, 220
    tokens = num_prefix + num_patches
    logits = torch.randn(batch, heads, tokens, tokens, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    attention = (2 * logits).softmax(-1)
    scores = artifact_scores(made_up(attention.float(), num_prefix, has_class_token))
    for b in range(batch):
        received = np.zeros(num_patches)
        entropies = []
        for k in range(heads):
            rows = attention[b, k].numpy()
            between = rows[num_prefix:, num_prefix:]
            received += between.sum(0)
            query = rows[0, num_prefix:] if has_class_token else between.sum(0)
            p = query / query.sum()
            entropies.append(-(p * np.log(p)).sum() / math.log(num_patches))
        received /= received.sum()
        probe = made_up(attention.float(), num_prefix)
        np.testing.assert_allclose(received_attention(probe)[b], received, rtol=1e-4)
        assert scores["top_share"][b].item() == pytest.approx(np.sort(received)[-2:].sum(), rel=1e-5)
        assert scores["max_over_mean"][b].item() == pytest.approx(received.max() / received.mean(), rel=1e-5)
        assert scores["entropy"][b].item() == pytest.approx(np.mean(entropies), rel=1e-5)


def test_the_mean_over_images_does_not_depend_on_batches():
    torch.manual_seed(0)
    encoder = TimmViT("vit_tiny_patch16_224", img_size=32, patch_size=8,
                      model_kwargs=dict(embed_dim=48, depth=3, num_heads=3)).eval()
    images = torch.randn(5, 3, 32, 32)
    whole, maps = analyze(encoder, [images])
    parts, first_maps = analyze(encoder, images.split(2))
    assert len(whole) == 3 and [block.shape for block in maps] == [(5, 4, 4)] * 3
    for one, other, block, first in zip(whole, parts, maps, first_maps):
        assert one == pytest.approx(other, rel=1e-5)
        torch.testing.assert_close(first, block[:2])
        assert one["max_over_mean"] == pytest.approx(16 * one["top_share"], rel=1e-5)  # 1 % of 16 patches: one
