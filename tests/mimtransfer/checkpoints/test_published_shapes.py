"""State dicts with all published names and shapes, random values, load completely and come back from every format.

`fixtures/published_shapes.json` holds names and shapes of the ViT-B (SimMIM also Swin-B, MFM also ResNet-50) of each
codebase at its default sizes, as its own code builds the model; `0-11` stands for twelve blocks. (The names of
mmselfsup 1.x and of its MAE of 0.x are mmpretrain's, but for the fine-tuned MAE of 0.x.) Features are compared
with those of the source in test_families, backbones/test_vitdet_official and tests/pretrain/methods/*_official.
"""
import pytest
import torch
from published_shapes import published

from mimtransfer.backbones.cnn import TimmCNN
from mimtransfer.backbones.swin import TimmSwin
from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.convert import convert
from mimtransfer.checkpoints.formats import read_format
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.checkpoints.safe_load import read_checkpoint

VIT = dict(arch="vit_base_patch16_224")
BEIT = dict(VIT, rel_pos="bias", pos_embed="none", layer_scale=0.1)
WINDOWS = dict(VIT, img_size=1024, window_size=14, global_blocks=(2, 5, 8, 11), rel_pos="decomposed", final_norm=False)
OURS = {  # family: (the options of the backbone, the formats that have a place for it)
    "mae": (VIT, "timm detectron2 huggingface"),
    "mae_finetuned": (VIT, "timm detectron2 huggingface"),
    "amt_mae": (VIT, "timm detectron2 huggingface"),
    "simmim": (BEIT, "timm huggingface"),
    "amt_simmim": (BEIT, "timm huggingface"),
    "simmim_swin": (dict(arch="swin_base_patch4_window7_224", img_size=192, window_size=6), "timm"),
    "mfm_vit": (VIT, "timm detectron2 huggingface"),
    "mfm_resnet": (dict(arch="resnet50"), "timm"),
    "mapet": (dict(VIT, layer_scale=0.1), "timm huggingface"),
    "beit": (BEIT, "timm huggingface"),
    "beit_finetuned": (BEIT, "timm huggingface"),
    "beit2": (BEIT, "timm huggingface"),
    "beit2_finetuned": (BEIT, "timm huggingface"),
    "dino": (VIT, "timm detectron2 huggingface"),
    "dinov2": (dict(arch="vit_base_patch14_dinov2", img_size=518), "timm huggingface"),
    "dinov2_registers": (dict(arch="vit_base_patch14_reg4_dinov2", img_size=518), "mimtransfer"),
    "clip": (dict(arch="vit_base_patch16_clip_quickgelu_224"), "timm huggingface"),
    "hf_vit": (VIT, "timm detectron2 huggingface"),
    "hf_vitmae": (VIT, "timm detectron2 huggingface"),
    "hf_beit": (BEIT, "timm huggingface"),
    "hf_dinov2": (dict(arch="vit_base_patch14_dinov2", img_size=518), "timm huggingface"),
    "hf_clip": (dict(arch="vit_base_patch16_clip_quickgelu_224"), "timm huggingface"),
    "mmpretrain_mae": (VIT, "timm detectron2 huggingface"),
    "mmpretrain_mae_finetuned": (VIT, "timm detectron2 huggingface"),
    "mmselfsup_mae_finetuned": (VIT, "timm detectron2 huggingface"),
    "mmpretrain_beit": (BEIT, "timm huggingface"),
    "mmpretrain_beit_finetuned": (BEIT, "timm huggingface"),
    "mmpretrain_beit2": (BEIT, "timm huggingface"),
    "vitdet": (dict(WINDOWS, img_size=224, rel_pos_size=1024), "detectron2"),
    "sam": (WINDOWS, "timm"),
}
CHANGED = {  # family: tensors that are not taken as they are
    # Its tables are for 10 x 10 patches, whatever the size of the image.
    "amt_simmim": {f"blocks.{i}.attn.relative_position_bias_table" for i in range(12)},
    "sam": {"pos_embed"},  # gets a row for the class token
    "dinov2_registers": {"pos_embed", "cls_token"},  # timm adds the position of the class token to it
}


def backbone(options):
    kind = {"vit": TimmViT, "swi": TimmSwin, "res": TimmCNN}[options["arch"][:3]]
    with torch.device("meta"):
        model = kind(**options)
    return model.to_empty(device="cpu")


@pytest.mark.parametrize("family", OURS)
def test_loads_completely(family, tmp_path):
    state = published(family)
    torch.save({"model": state}, tmp_path / "published.pth")
    model = backbone(OURS[family][0])
    report = load_backbone(model, tmp_path / "published.pth")
    own = model.state_dict()
    assert not report.missing
    assert set(report.resized) == CHANGED.get(family, set())
    left = {name for name in report.expected_missing if own[name].is_floating_point()}
    assert left <= {"cls_token"} if family in ("sam", "vitdet") else not left
    encoder = read_format({"model": state}).encoder
    assert len(encoder) >= len(report.matched) > 130
    same = [name for name in report.matched if name not in CHANGED.get(family, ())]
    for name in same:
        value, loaded = encoder[name], own[name]
        if name == "pos_embed":  # a row for the class token may be on one side only
            value, loaded = value.flatten(1, -2), loaded.flatten(1, -2)
            num_rows = min(value.shape[1], loaded.shape[1])
            value, loaded = value[:, -num_rows:], loaded[:, -num_rows:]
        assert torch.equal(loaded.flatten(), value.flatten()), name


@pytest.mark.parametrize(("family", "to"), [(family, to) for family in OURS for to in OURS[family][1].split()])
def test_comes_back_from_each_format(family, to, tmp_path):
    """The first block of the encoder and all around it, through files. (DINOv2 to timm: test_convert.)"""
    state = published(family, deepest=0)
    torch.save({"model": state}, tmp_path / "published.pth")
    convert(tmp_path / "published.pth", tmp_path / "there.safetensors", to)
    convert(tmp_path / "there.safetensors", tmp_path / "back.safetensors", "mimtransfer")
    want = read_format({"model": state}).encoder
    got = read_format(read_checkpoint(tmp_path / "back.safetensors")).encoder
    assert not [name for name in want if name not in got or not torch.equal(got[name], want[name])]
    assert set(got) == set(want)
