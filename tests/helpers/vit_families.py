"""Small ViTs of several codebases with random weights, and the fixture of `test_checkpoint_families`."""
import json
import re
from pathlib import Path

import timm
import torch
from deterministic import numbers
from timm.models.vision_transformer_sam import VisionTransformerSAM

from mimtransfer.backbones.vit import TimmViT

_FIXTURE = Path(__file__).parents[1] / "mimtransfer/checkpoints/fixtures/vit_families.json"
CASES = json.loads(_FIXTURE.read_text())["cases"]
SMALL = dict(embed_dim=48, depth=2, num_heads=3)
IMAGES = numbers("images", (2, 3, 32, 32), 1.0)
BEIT = dict(rel_pos="bias", pos_embed="none", layer_scale=0.1)
WINDOWS = dict(window_size=2, global_blocks=(1,), rel_pos="decomposed", final_norm=False)


def backbone(arch="vit_tiny_patch16_224", **options):
    torch.manual_seed(0)
    return TimmViT(arch, **{"img_size": 32, "patch_size": 8, "model_kwargs": SMALL, **options}).eval()


@torch.no_grad()
def tokens(vit):
    """All tokens of the images; a backbone with relative positions gives patches only."""
    if vit.uses_grid:
        return vit(IMAGES)[-1].flatten(2).transpose(1, 2)
    return vit.encode(vit.add_position(vit.embed(IMAGES), vit.patch_grid(IMAGES)))


def random_state(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.randn(value.shape, generator=generator) * 0.1 if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    model.eval()
    return state


def dinov2(chunks):
    """Write a timm ViT with registers as DINOv2 publishes it, or as its training does: blocks in chunks, a head."""
    source = timm.create_model("vit_small_patch14_reg4_dinov2", img_size=32, patch_size=8, num_classes=0,
                               global_pool="", **SMALL)
    state = random_state(source)
    state["register_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.ones(1, 48)
    position = torch.randn(1, 1, 48)
    state["pos_embed"] = torch.cat([position, state["pos_embed"]], 1)
    state["cls_token"] = state["cls_token"] - position
    if not chunks:
        return source, state
    state = {re.sub(r"blocks\.(\d+)\.", r"blocks.\1.\1.", f"backbone.{name}"): value for name, value in state.items()}
    return source, {"teacher": {**state, "dino_head.mlp.0.weight": torch.ones(2)}, "student": {}}


def sam():
    vit = VisionTransformerSAM(img_size=32, patch_size=8, window_size=2, global_attn_indexes=(1,), num_classes=0,
                               use_rel_pos=True, **SMALL)
    vit.neck = torch.nn.Identity()
    return vit
