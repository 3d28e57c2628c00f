"""Checkpoints of other codebases load completely, and the features are those of the code that wrote them.

How `fixtures/vit_families.json` was made: models of width 48, 2 blocks, 3 heads, patch 8 and 32-pixel images (decoders
of width 16), eps 1e-6 (CLIP 1e-5), every tensor of their state dict filled by `published` below; `features` are sums
over the channels of the first 12 tokens after the final norm, prefix tokens included; `abs_sum` is over all tokens.
"""
import pickle
import re

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from deterministic import numbers
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models.vision_transformer import checkpoint_filter_fn
from vit_families import BEIT, CASES, IMAGES, SMALL, WINDOWS, backbone, dinov2, random_state, sam, tokens

import mimtransfer
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.errors import UserError

OPTIONS = {
    "mae": {},
    "mae_finetuned": dict(final_norm=False),
    "hf_vit": {},
    "hf_vitmae": {},
    "hf_dinov2": dict(layer_scale=0.1),
    "hf_dinov2_registers": dict(layer_scale=0.1, model_kwargs=dict(SMALL, reg_tokens=4)),
    "hf_beit": BEIT,
    "hf_beit_shared": BEIT,
    "hf_clip": dict(arch="vit_base_patch16_clip_quickgelu_224"),
}


def published(name, shape):
    """Make a tensor of a source: 0.05 times normal numbers, and 1 added to weights of norms and to layer scale."""
    is_scale = "lambda" in name or re.search(r"(norm|layrn).*weight$", name)
    return numbers(name, tuple(shape), 0.05) + float(bool(is_scale))


def load(vit, state, folder):
    torch.save(state, folder / "source.pth")
    return load_backbone(vit, folder / "source.pth")


@pytest.mark.parametrize("case", CASES)
def test_features_equal_the_source(case, tmp_path):
    family = case.partition("_transformers")[0]
    state = {name: published(name, shape) for name, shape in CASES[case]["shapes"].items()}
    vit = backbone(**OPTIONS[family])
    report = load(vit, state, tmp_path)
    foreign = ("decoder", "mask_token", "head.", "classifier.", "embeddings.mask_token", "norm.")
    assert not report.missing and not report.expected_missing and len(report.matched) == len(vit.state_dict())
    assert all(name.startswith(foreign) for name in report.unexpected), report.unexpected
    features, want, scale = tokens(vit), torch.tensor(CASES[case]["features"]), CASES[case]["abs_sum"]
    if family == "mae_finetuned":
        features = F.layer_norm(features[:, 1:].mean(1), (48,), state["fc_norm.weight"], state["fc_norm.bias"], 1e-6)
    if vit.uses_grid:
        torch.testing.assert_close(features.sum(-1)[0, :11], want[1:], rtol=0, atol=1e-4)
        return
    torch.testing.assert_close(features.sum(-1).flatten()[:12], want[: features[..., 0].numel()], rtol=0, atol=1e-4)
    assert features.double().abs().sum().item() == pytest.approx(scale, rel=1e-5)


@pytest.mark.parametrize(("patch", "size"), [(10, (40, 40)), (8, (64, 32)), (10, (20, 50))])
def test_another_patch_and_grid_as_timm_resamples_them(patch, size, tmp_path):
    shapes = CASES["hf_vitmae_transformers4"]["shapes"]
    state = {name: published(name, shape) for name, shape in shapes.items()}
    vit = backbone(patch_size=patch, img_size=size)
    report = load(vit, state, tmp_path)
    grid = [side // patch for side in size]
    positions = state["vit.embeddings.position_embeddings"]
    kernel = state["vit.embeddings.patch_embeddings.projection.weight"]
    assert torch.equal(vit.pos_embed, resample_abs_pos_embed(positions, new_size=grid, old_size=[4, 4]))
    torch.testing.assert_close(vit.patch_embed.proj.weight.data, resample_patch_embed(kernel, [patch, patch]))
    want = {"patch_embed.proj.weight"} if patch != 8 else set()
    assert set(report.resized) == want | ({"pos_embed"} if grid != [4, 4] else set())


@pytest.mark.parametrize("shared", [False, True])
def test_official_beit(shared, tmp_path):
    options = dict(use_abs_pos_emb=False, use_rel_pos_bias=not shared, use_shared_rel_pos_bias=shared)
    source = timm.create_model("beit_base_patch16_224", img_size=32, patch_size=8, init_values=0.1, num_classes=0,
                               global_pool="", **SMALL, **options)
    state = random_state(source)
    extras = {"mask_token": torch.ones(1, 1, 48), "lm_head.weight": torch.ones(5, 48)}
    indices = {f"blocks.{i}.attn.relative_position_index": torch.zeros(17, 17, dtype=torch.long) for i in range(2)}
    vit = backbone(**BEIT)
    report = load(vit, {"model": {**state, **extras, **indices}}, tmp_path)
    assert report.source == "BEiT" and set(report.unexpected) == set(extras)
    with torch.no_grad():
        want = source.forward_features(IMAGES)[:, 1:]
    torch.testing.assert_close(tokens(vit), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunks", [False, True])
def test_official_dinov2(chunks, tmp_path):
    source, checkpoint = dinov2(chunks)
    vit = backbone("vit_small_patch14_reg4_dinov2")
    report = load(vit, checkpoint, tmp_path)
    assert report.source == ("DINO (backbone.*)" if chunks else "DINOv2")
    with torch.no_grad():
        torch.testing.assert_close(tokens(vit), source.forward_features(IMAGES), rtol=1e-4, atol=1e-5)
    if not chunks:
        with pytest.raises(UserError, match="has reg_token and the backbone none"):
            load(backbone("vit_small_patch14_dinov2"), checkpoint, tmp_path)


def test_dino_takes_the_teacher(tmp_path):
    source = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=0, **SMALL)
    who = {}
    for seed, name in enumerate(("student", "teacher")):
        prefix = "module.backbone." if name == "student" else "backbone."
        who[name] = {prefix + key: value for key, value in random_state(source, seed).items()}
        who[name][prefix.replace("backbone.", "head.last_layer.weight_g")] = torch.ones(3, 1)
    vit = backbone()
    assert load(vit, {**who, "epoch": 3}, tmp_path).source == "DINO (backbone.*)"
    assert torch.equal(vit.blocks[1].mlp.fc1.weight, who["teacher"]["backbone.blocks.1.mlp.fc1.weight"])


class Visual(torch.nn.Module):
    """Parameters of OpenAI's visual transformer under their names."""

    def __init__(self):
        super().__init__()
        self.class_embedding = torch.nn.Parameter(torch.randn(48))
        self.positional_embedding = torch.nn.Parameter(torch.randn(17, 48))
        self.proj = torch.nn.Parameter(torch.randn(48, 8))
        self.conv1 = torch.nn.Conv2d(3, 48, 8, 8, bias=False)
        self.ln_pre, self.ln_post = torch.nn.LayerNorm(48), torch.nn.LayerNorm(48)
        self.transformer = torch.nn.Module()
        self.transformer.resblocks = torch.nn.Sequential(*[torch.nn.Module() for _ in range(2)])
        for block in self.transformer.resblocks:
            block.attn = torch.nn.MultiheadAttention(48, 3)
            block.ln_1, block.ln_2 = torch.nn.LayerNorm(48), torch.nn.LayerNorm(48)
            block.mlp = torch.nn.Module()
            block.mlp.c_fc, block.mlp.c_proj = torch.nn.Linear(48, 192), torch.nn.Linear(192, 48)

    def forward(self, x):
        return self.conv1(x)


class Clip(torch.nn.Module):
    """CLIP as far as its checkpoint matters here."""

    def __init__(self):
        super().__init__()
        self.visual = Visual()
        self.logit_scale = torch.nn.Parameter(torch.ones(()))
        self.token_embedding = torch.nn.Embedding(4, 8)

    def forward(self, x):
        return self.visual(x)


@pytest.mark.parametrize("script", [False, True])
def test_openai_clip(script, tmp_path):
    clip = Clip()
    state = random_state(clip)
    source = timm.create_model("vit_base_patch16_clip_quickgelu_224", img_size=32, patch_size=8, num_classes=0,
                               global_pool="", **SMALL)
    source.load_state_dict({k: v for k, v in checkpoint_filter_fn(dict(state), source).items() if "head" not in k})
    vit = backbone("vit_base_patch16_clip_quickgelu_224")
    path = tmp_path / "clip.pt"
    if script:  # as OpenAI publishes it: a TorchScript archive, in half precision
        torch.jit.save(torch.jit.trace(clip.half(), IMAGES.half(), check_trace=False), path)
        source = source.half().float()
    else:
        torch.save(state, path)
    report = load_backbone(vit, path)
    assert report.source == "OpenAI CLIP (visual.*)"
    assert set(report.unexpected) == {"visual.proj", "logit_scale", "token_embedding.weight"}
    with torch.no_grad():
        torch.testing.assert_close(tokens(vit), source.eval().forward_features(IMAGES), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match=r"has norm_pre.weight and the backbone none|not in the file"):
        load_backbone(backbone(), path)


@pytest.mark.parametrize("file", ["SAM", "encoder of SAM", "ViTDet", "ViTDet.pkl"])
def test_sam_and_vitdet(file, tmp_path):
    source = sam()
    state = random_state(source)
    vit, path = backbone(**WINDOWS), tmp_path / file
    if "SAM" in file:
        prefix = "" if "encoder" in file else "image_encoder."
        names = {name: prefix + re.sub(r"mlp\.fc(\d)", r"mlp.lin\1", name) for name in state}
        foreign = {f"{prefix}neck.0.weight": torch.ones(2), "mask_decoder.iou_token.weight": torch.ones(2)}
    else:  # keeps the position of a class token that it lacks
        state["pos_embed"] = torch.cat([torch.ones(1, 1, 48), state["pos_embed"].flatten(1, 2)], 1)
        names, foreign = {name: f"backbone.net.{name}" for name in state}, {"roi_heads.x": torch.ones(2)}
    content = {names[name]: value for name, value in state.items()} | foreign
    if file.endswith("pkl"):
        arrays = {name: value.numpy() for name, value in content.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "MODEL_ZOO", "step": np.float64(3)}))
    else:
        torch.save({"model": content}, path)
    report = load_backbone(vit, path)
    want = {"SAM": "SAM image encoder (image_encoder.*)", "encoder of SAM": "SAM image encoder"}
    assert report.source == want.get(file, "detectron2 ViTDet (backbone.*)")
    assert report.expected_missing == ["cls_token"] and set(report.unexpected) == set(foreign)
    with torch.no_grad():
        torch.testing.assert_close(vit(IMAGES)[-1], source.forward_features(IMAGES), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kind", ["MAE", "BEiT"])
def test_mmpretrain_and_mmselfsup(kind, old, tmp_path):
    options = {} if kind == "MAE" else BEIT
    source = backbone(**options)
    random_state(source)
    file = {}
    for name, value in source.state_dict().items():
        name = re.sub(r"^blocks", "layers", name).replace("patch_embed.proj", "patch_embed.projection")
        name = name.replace("mlp.fc1", "ffn.layers.0.0").replace("mlp.fc2", "ffn.layers.1")
        name = re.sub(r"ls(\d)\.gamma", r"gamma_\1", name)
        name = re.sub(r"^norm\.", "norm1.", name)
        name = name if old else re.sub(r"\bnorm(\d)\.", r"ln\1.", name)
        if kind == "BEiT" and name.endswith("qkv.bias"):
            q, _, v = value.chunk(3)
            before = f"backbone.{name.removesuffix('qkv.bias')}"
            file |= {f"{before}q_bias": q, f"{before}v_bias": v}
        else:
            file[f"backbone.{name}"] = value
    file |= {"neck.decoder_embed.weight": torch.ones(2), "head.x": torch.ones(2)}
    vit = backbone(**options)
    report = load(vit, {"state_dict": file, "meta": {}}, tmp_path)
    assert report.source == "mmpretrain, mmselfsup or mmseg (backbone.*)" and len(report.unexpected) == 2
    if kind == "BEiT":  # biases of keys are not in the file and act on nothing
        for block in source.blocks:
            block.attn.qkv.bias.data[48:96] = 0
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in vit.state_dict().items())


@pytest.mark.parametrize(("there", "says"), [
    ({"encoder.layer.0.attention.attention.gate.weight": torch.ones(2)}, "tensors inside its blocks"),
    ({"encoder.layer.7.layernorm_before.weight": torch.ones(48)}, "is deeper than the backbone"),
])
def test_what_no_table_knows_is_refused(there, says, tmp_path):
    shapes = CASES["hf_vit_transformers4"]["shapes"]
    state = {name.removeprefix("vit."): published(name, shape) for name, shape in shapes.items()} | there
    with pytest.raises(UserError, match=says):
        load(backbone(), state, tmp_path)


def test_one_line_says_what_a_backbone_lacks(tmp_path):
    source = sam()
    state = {re.sub(r"mlp\.fc(\d)", r"mlp.lin\1", name): value for name, value in random_state(source).items()}
    with pytest.raises(UserError, match=r"build the backbone without one .final_norm=False.$"):
        load(backbone(**{**WINDOWS, "final_norm": True}), state, tmp_path)
    beit = {k: v for k, v in backbone(rel_pos="bias", layer_scale=0.1).state_dict().items() if k != "pos_embed"}
    post_norm = {f"encoder.{name}": value for name, value in backbone(post_norm=True).state_dict().items()}
    with pytest.raises(UserError, match=r"norms behind the sums, .* backbone so .post_norm=True.$"):
        load(backbone(), post_norm, tmp_path)
    classless = backbone(model_kwargs=dict(SMALL, class_token=False)).state_dict()
    with pytest.raises(UserError, match=r"without one .model_kwargs=dict.class_token=False..$"):
        load(backbone(), classless, tmp_path)
    with pytest.raises(UserError, match=r"its positions are relative, .* without others .pos_embed='none'.$"):
        load(backbone(rel_pos="bias", layer_scale=0.1), beit, tmp_path)


@pytest.mark.parametrize("rel_pos", ["bias", "decomposed"])
def test_relative_positions_that_the_backbone_lacks(rel_pos, tmp_path):
    """A training may begin without them; features would be others."""
    source = backbone(rel_pos=rel_pos)
    state = random_state(source)
    names = sorted(set(state) - set(backbone().state_dict()))
    torch.save(state, tmp_path / "x.pth")
    assert sorted(load_backbone(backbone(), tmp_path / "x.pth").unexpected) == names
    for load_features in (lambda: load_backbone(backbone(), tmp_path / "x.pth", same_features=True),
                          lambda: mimtransfer.load_backbone(tmp_path / "x.pth", "vit_tiny_patch16_224", 32,
                                                            patch_size=8, model_kwargs=SMALL)):
        with pytest.raises(UserError, match=r"attends by relative positions \(blocks\.0\.attn\.rel.*\(rel_pos\)$"):
            load_features()
    load_backbone(backbone(rel_pos=rel_pos), tmp_path / "x.pth", same_features=True)
