"""How much of a block's attention a few tokens gather: scores of artifacts in attention maps.

Miao et al. (IEEE SPL 2024, doi 10.1109/LSP.2024.3458792) see strong responses in the attention maps of shallow blocks
when a pretrained MAE is fine-tuned, and call them artifacts. They give no number for them; the three scores are ours.
"""
import math
from collections.abc import Iterable

import torch
from torch import Tensor

from mimtransfer.backbones.probe import Probe, probe_blocks
from mimtransfer.backbones.vit import TimmViT

SCORES = {
    "top_share": "share of the received attention on the top 1 % of the tokens",
    "max_over_mean": "largest over mean received attention",
    "entropy": "entropy of the class token's attention, 1 = even",
}


def received_attention(probe: Probe) -> Tensor:
    """Return what share of the patches' attention to patches each patch receives, mean over heads: [B, L] float32,
    sum 1.
    """
    return _shares(_between_patches(probe).mean((1, 2)))


def artifact_scores(probe: Probe) -> dict[str, Tensor]:
    """Score the attention of a block; see `SCORES`. Prefix tokens are left out as queries and as keys.

    Returns:
        top_share: [B] float32 in (0, 1]; 1 % of the tokens are rounded down, but one at least.
        max_over_mean: [B] float32 in [1, L].
        entropy: [B] float32 in [0, 1], over log L, mean over heads. Without a class token, of the patches' mean query.
    """
    received = received_attention(probe)
    num_patches = received.shape[1]
    top = received.topk(max(1, num_patches // 100), dim=1).values.sum(1)
    query = probe.class_attention if probe.has_class_token else _between_patches(probe).mean(2)  # [B, K, L]
    entropy = torch.special.entr(_shares(query)).sum(-1).mean(1) / math.log(num_patches)
    return {"top_share": top, "max_over_mean": received.amax(1) * num_patches, "entropy": entropy}


@torch.inference_mode()
def analyze(encoder: TimmViT, batches: Iterable[Tensor]) -> tuple[list[dict[str, float]], list[Tensor]]:
    """Score every block on whole images.

    Args:
        encoder: in evaluation mode.
        batches: normalised images, [B, C, H, W] float each, on the encoder's device.

    Returns:
        For each block the mean of each score over the images, and `received_attention` as [B, h, w] of the first batch.
    """
    total, maps, num_images = [], [], 0
    for images in batches:
        num_images += len(images)
        for number, probe in enumerate(probe_blocks(encoder, images)):
            scores = {name: value.sum().item() for name, value in artifact_scores(probe).items()}
            if num_images == len(images):
                total.append(scores)
                maps.append(received_attention(probe).view(-1, *probe.grid).cpu())
            else:
                total[number] = {name: value + scores[name] for name, value in total[number].items()}
    return [{name: value / num_images for name, value in block.items()} for block in total], maps


def _between_patches(probe: Probe) -> Tensor:
    return probe.attention[:, :, probe.num_prefix_tokens :, probe.num_prefix_tokens :]


def _shares(attention: Tensor) -> Tensor:
    return attention / attention.sum(-1, keepdim=True)
