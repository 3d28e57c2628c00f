"""timm loads what is exported by `local-dir:`, and computes the features of our backbone."""
import json

import pytest
import timm
import torch
from exported import EVA, PIXELS, SIGNED, checkpoint, images
from mmengine.config import Config
from vit_families import SMALL

from mimtransfer.errors import UserError
from mimtransfer.export.folder import new_folder
from mimtransfer.export.source import all_tokens, read_source
from mimtransfer.export.timm_model import write_timm
from mimtransfer.registry import MODELS

VITS = {
    "plain": {}, "fixed sines and cosines": dict(pos_embed="sincos"), "no positions": dict(pos_embed="none"),
    "not square": dict(img_size=(32, 16), patch_size=(8, 4)), "one channel": dict(in_chans=1),
    "layer scale": dict(layer_scale=0.1), "no final norm": dict(final_norm=False), "cut": dict(out_indices=(0,)),
    "registers": dict(arch="vit_small_patch14_reg4_dinov2"), "no class token": dict(arch="vit_medium_patch16_gap_240"),
    "normed queries": dict(model_kwargs=dict(**SMALL, qk_norm=True)),
    "CLIP": dict(arch="vit_base_patch16_clip_quickgelu_224"),
    "BEiT": dict(rel_pos="bias", pos_embed="none", layer_scale=0.1), "bias and positions": dict(rel_pos="bias"),
    "BEiT not square": dict(rel_pos="bias", pos_embed="none", layer_scale=0.1, img_size=(32, 16)),
    "DINOv3": dict(arch="vit_small_patch16_dinov3", model_kwargs=EVA),
    "EVA-02": dict(arch="eva02_tiny_patch14_224", model_kwargs=EVA),
    "RoPE-ViT": dict(arch="vit_small_patch16_rope_mixed_224", model_kwargs=EVA),
}
OTHERS = {
    "Swin": dict(type="TimmSwin", arch="swin_tiny_patch4_window7_224", img_size=64, window_size=4,
                 model_kwargs=dict(embed_dim=24, depths=(2, 2), num_heads=(2, 4))),
    "ResNet": dict(type="TimmCNN", arch="resnet18", img_size=64),
    "ConvNeXt": dict(type="TimmCNN", arch="convnext_atto", img_size=64),
}


def read_back(tmp_path, source):
    with new_folder(tmp_path / "out") as folder:
        line = write_timm(source, folder)
    return timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval(), line


@pytest.mark.parametrize("case", VITS)
@torch.no_grad()
def test_tokens_are_ours(case, tmp_path):
    path, vit = checkpoint(tmp_path, **VITS[case])
    model, line = read_back(tmp_path, read_source(path))
    assert " of timm, " in line
    batch = images(*vit.img_size, channels=vit.in_chans)
    own = all_tokens(vit, batch)
    torch.testing.assert_close(model.forward_features(batch), own, rtol=0, atol=1e-5)
    pooled = own[:, 0] if vit.cls_token is not None else own.mean(1)
    torch.testing.assert_close(model(batch), pooled, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", OTHERS)
@torch.no_grad()
def test_maps_of_swins_and_cnns_are_ours(case, tmp_path):
    config = OTHERS[case]
    torch.manual_seed(0)
    backbone = MODELS.build(config).eval()
    meta = {"cfg": Config(dict(model=dict(type="MFM", encoder=config))).pretty_text, "mimtransfer": SIGNED}
    torch.save({"state_dict": {f"encoder.{key}": value for key, value in backbone.state_dict().items()}, "meta": meta},
               tmp_path / "epoch_3.pth")
    model, _ = read_back(tmp_path, read_source(str(tmp_path / "epoch_3.pth")))
    batch = images(64, 64)
    ours, theirs = backbone(batch)[-1], model.forward_features(batch)
    theirs = theirs.permute(0, 3, 1, 2) if case == "Swin" else theirs
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5 * ours.abs().max().item())


def test_positions_are_resampled_and_the_images_described(tmp_path):
    path, vit = checkpoint(tmp_path)
    model, _ = read_back(tmp_path, read_source(path, img_size=(48, 24)))
    batch = images(48, 24)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(batch), all_tokens(vit, batch), rtol=0, atol=1e-5)
    config = timm.data.resolve_model_data_config(model)
    assert config["input_size"] == (3, 48, 24) and config["interpolation"] == "bicubic" and config["crop_pct"] == 1
    torch.testing.assert_close(list(config["mean"]), [value / 255 for value in PIXELS["mean"]])
    torch.testing.assert_close(list(config["std"]), [value / 255 for value in PIXELS["std"]])
    # Nothing of what timm published under this name is claimed.
    written = json.loads((tmp_path / "out" / "config.json").read_text())["pretrained_cfg"]
    assert written["description"] == "MAE + FAMT of mimtransfer"
    assert not any(written.get(key) for key in ("license", "origin_url", "paper_ids", "hf_hub_id", "url", "tag"))


@pytest.mark.parametrize("options", [dict(window_size=2), dict(rel_pos="decomposed"), dict(post_norm=True)])
def test_what_has_no_counterpart_is_refused(options, tmp_path):
    path, _ = checkpoint(tmp_path, **options)
    with pytest.raises(UserError, match="timm has no model for: give --to onnx") as error:
        read_back(tmp_path, read_source(path))
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
