"""Every method that works on subsets of tokens does so with rotary positions: DINOv3's build, and learned angles."""
import pytest
import torch
from brightness_tokenizer import BrightnessTokenizer  # noqa: F401  registers it

import pretrain.methods  # noqa: F401
from mimtransfer.backbones.vit import TimmViT
from mimtransfer.registry import MODELS
from pretrain.methods.two_stream import encode_two_streams, two_stream_mask

ARCHS = ("vit_small_patch16_dinov3_qkvb", "vit_small_patch16_rope_mixed_224")
ENCODER = dict(type="TimmViT", img_size=32, patch_size=8, layer_scale=1.0,
               model_kwargs=dict(embed_dim=48, depth=2, num_heads=3))
TOKENS = dict(tokenizer=dict(type="BrightnessTokenizer", num_codes=16, patch_size=8))
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
THROWN = dict(strategy=dict(type="RandomMasking", mask_ratio=0.5, throw_ratio=0.25))
METHODS = {
    "MAE": dict(decoder=dict(embed_dim=32, depth=1, num_heads=4), **THROWN),
    "SimMIM": THROWN,
    "BEiT": TOKENS | THROWN,
    "MaPeT": TOKENS | THROWN,
    "IJEPA": dict(predictor=dict(embed_dim=24, depth=1)),
    "Data2Vec2": dict(decoder=dict(embed_dim=32, depth=2), top_blocks=2, cls_weight=1.0),
}


def build(method, arch):
    torch.manual_seed(0)
    model = MODELS.build(dict(METHODS[method], type=method, encoder=dict(ENCODER, arch=arch),
                              data_preprocessor=PREPROCESSOR))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.05)  # attention is nearly even at first
    return model


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("method", METHODS)
def test_a_step_trains_every_parameter_and_angles_decide_the_loss(method, arch):
    model = build(method, arch)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    losses = model(images)
    losses["loss"].backward()
    assert torch.isfinite(losses["loss"])
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not [name for name, parameter in trained.items() if parameter.grad is None]
    angles = [name for name in trained if name.endswith("rope.freqs")]
    assert bool(angles) == ("mixed" in arch) and all(trained[name].grad.any() for name in angles)
    # The same layout, and as if all patches lay at one place.
    for module in model.modules():
        if isinstance(module, TimmViT):
            make = module.rope.get_embed
            module.rope.get_embed = lambda shape, make=make: make(shape=shape)[..., :1, :].repeat_interleave(16, -2)
    assert (model(images)["loss"] - losses["loss"]).abs() > 1e-6


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("method", ["MAE", "SimMIM", "BEiT", "MaPeT"])
def test_pixels_of_thrown_patches_leave_the_loss_as_it_is(method, arch):
    model = build(method, arch)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    drawn = model.draw_layout(images, None)
    layout = getattr(drawn, "layout", drawn)
    changed = images.clone()
    for image, thrown in zip(changed, layout.thrown):
        for patch in thrown.tolist():
            row, column = patch // 4 * 8, patch % 4 * 8
            image[:, row:row + 8, column:column + 8] = 0
    assert not torch.equal(images, changed)
    with torch.no_grad():
        assert torch.equal(model.loss(images, drawn)["loss"], model.loss(changed, drawn)["loss"])


@pytest.mark.parametrize("arch", ["vit_small_patch16_dinov3_qkvb", "eva02_base_patch14_224",
                                  "vit_small_patch16_rope_mixed_224"])
@torch.no_grad()
def test_both_streams_are_turned_as_the_patches_that_they_are_of(arch):
    """A query sees prefix and visible patches only, as a mask lets it in timm's own blocks."""
    torch.manual_seed(0)
    encoder = MODELS.build(dict(ENCODER, arch=arch)).eval()
    for parameter in encoder.parameters():
        parameter.add_(torch.randn(parameter.shape), alpha=0.1)
    visible, masked = torch.randperm(16)[None].split([5, 11], dim=1)
    masked = masked[:, :1]
    tokens, query = torch.randn(1, 6, 48), torch.randn(1, 1, 48)
    patches = torch.cat([visible, masked, masked], dim=1)
    num_context = encoder.num_prefix_tokens + 5
    mask = two_stream_mask(num_context, 1, auxiliary=False)
    found = encode_two_streams(encoder, tokens, query, mask, whole=True, grid=(4, 4), patches=patches)

    x = encoder.norm_pre(encoder.prepend_prefix(torch.cat([tokens, query], dim=1)))
    seen = torch.zeros(num_context + 2, num_context + 2, dtype=torch.bool)
    seen[:, :num_context] = True
    seen[num_context, num_context] = True  # the content of the predicted patch sees itself
    for block, place in zip(encoder.blocks, encoder.places((4, 4), patches)):
        x = block(x, **place, attn_mask=seen)
    torch.testing.assert_close(found, encoder.norm(x), atol=1e-5, rtol=0)
    elsewhere = encode_two_streams(encoder, tokens, query, mask, grid=(4, 4), patches=patches.roll(1, 1))
    assert (elsewhere - found[:, -1:]).abs().max() > 1e-4


def test_only_what_is_read_is_projected():
    """Queries of all rows but those of the last block's content; keys of the content alone."""
    encoder = MODELS.build(dict(ENCODER, arch="eva02_base_patch14_224"))
    lengths = {"q_proj": [], "k_proj": []}
    for block in encoder.blocks:
        for layer, seen in lengths.items():
            getattr(block.attn, layer).register_forward_hook(lambda _, args, out, seen=seen: seen.append(out.shape[1]))
    patches, mask = torch.arange(7)[None], two_stream_mask(6, 1, auxiliary=False)
    encode_two_streams(encoder, torch.zeros(1, 6, 48), torch.zeros(1, 1, 48), mask, grid=(4, 4), patches=patches)
    assert lengths == {"q_proj": [8, 1], "k_proj": [7, 7]}
