"""Every method knows where a patch lies: by absolute positions, by a relative position bias, or it refuses."""
import pytest
import torch
from brightness_tokenizer import BrightnessTokenizer  # noqa: F401  registers it

from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.methods.base import MIMethod

VIT = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8,
           model_kwargs=dict(embed_dim=48, depth=2, num_heads=3))
TOKENS = dict(tokenizer=dict(type="BrightnessTokenizer", num_codes=16, patch_size=8))
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
METHODS = {
    "MAE": dict(decoder=dict(embed_dim=32, depth=1, num_heads=4)),
    "SimMIM": dict(strategy=dict(type="RandomMasking", mask_ratio=0.6)),
    "BEiT": TOKENS | dict(strategy=dict(type="RandomMasking", mask_ratio=0.4)),
    "MaPeT": TOKENS,
    "MFM": {},
}
SOME_THROWN = dict(type="RandomMasking", mask_ratio=0.4, throw_ratio=0.3)


def build(method: str, strategy: dict | None = None, **encoder) -> MIMethod:
    torch.manual_seed(0)
    arguments = METHODS[method] | (dict(strategy=strategy) if strategy else {})
    return MODELS.build(dict(arguments, type=method, encoder=dict(VIT, **encoder), data_preprocessor=PREPROCESSOR))


@pytest.mark.parametrize("strategy", [None, SOME_THROWN], ids=["all-kept", "thrown"])
@pytest.mark.parametrize("method", ["SimMIM", "BEiT", "MAE"])
def test_with_a_bias_masked_patches_are_told_apart_and_the_bias_is_trained(method, strategy):
    model = build(method, strategy, rel_pos="bias", pos_embed="none")
    tables = [block.attn.relative_position_bias_table for block in model.encoder.blocks]
    # As the official codes begin: SimMIM's and BEiT's initialisation leaves relative positions at 0.
    assert all((table == 0).all() for table in tables)
    with torch.no_grad():
        for table in tables:
            table.normal_()
    images = torch.randn(2, 3, 32, 32)
    encodings = []
    model.encoder.norm.register_forward_hook(lambda *call: encodings.append(call[-1].detach()))
    model(images)["loss"].backward()
    tokens = encodings[0][0, 1:]
    assert torch.pdist(tokens).min() > 1e-3
    assert all(table.grad.abs().sum() > 0 for table in tables)
    # The same image, its halves changed over: without positions each patch would be encoded as before.
    drawn = model.draw_layout(images, None)
    moved = model.predict(images.roll(16, 3), getattr(drawn, "layout", drawn))
    assert (moved - model.predict(images, getattr(drawn, "layout", drawn))).abs().max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_an_encoder_without_positions_is_refused(method):
    with pytest.raises(UserError, match=f"^{method}: got an encoder without positions, .*or rel_pos='bias'$"):
        build(method, pos_embed="none")


@pytest.mark.parametrize("options", [dict(window_size=2), dict(rel_pos="decomposed"),
                                     dict(window_size=2, rel_pos="bias", pos_embed="none")])
@pytest.mark.parametrize("method", METHODS)
def test_windows_and_decomposed_positions_are_refused_where_they_would_be_left_out(method, options):
    if method == "MFM":  # it encodes whole images
        assert build(method, **options)(torch.randn(2, 3, 32, 32))["loss"].isfinite()
        return
    with pytest.raises(UserError, match=f"^{method}: got an encoder with windows or rel_pos='decomposed', which are"):
        build(method, **options)
