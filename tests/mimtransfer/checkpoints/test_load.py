"""Loading a checkpoint: the values arrive, the report is true, and a wrong file leaves the backbone as it was."""
import argparse
import hashlib
import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.formats import read_format
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.errors import UserError

ARCH = "vit_tiny_patch16_224"
SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 3}


def vit(seed=0, img_size=64, patch_size=16, **kwargs):
    """Build a small timm ViT whose every parameter is random (timm starts biases and layer norms constant)."""
    model = timm.create_model(ARCH, img_size=img_size, patch_size=patch_size, num_classes=0, **{**SMALL, **kwargs})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def timm_vit(**kwargs):
    return TimmViT(ARCH, **{"img_size": 64, "model_kwargs": SMALL, **kwargs})


@pytest.fixture
def save(tmp_path):
    def write(checkpoint, name="checkpoint.pth"):
        torch.save(checkpoint, tmp_path / name)
        return str(tmp_path / name)

    return write


def wrapped(state, layout):
    """Store an encoder's state dict as a source of that layout does; return the file's content and the foreign keys."""
    decoder = {name: torch.ones(2) for name in ("decoder_embed.weight", "decoder_blocks.0.norm1.bias", "mask_token")}
    if layout == "pretraining":
        method = {f"encoder.{name}": value for name, value in state.items()}
        decoder = {f"decoder.{name}": value for name, value in decoder.items()}
        return {"state_dict": method | decoder, "meta": {"mimtransfer": {"method": "MAE", "epoch": 3}}}, set(decoder)
    if layout == "compiled pretraining":
        method = {f"_orig_mod.encoder._orig_mod.{name}": value for name, value in state.items()}
        return {"state_dict": method, "meta": {"mimtransfer": {"method": "MAE", "epoch": 3}}}, set()
    if layout == "transfer":
        detector = {f"backbone.{name}": value for name, value in state.items()}
        return {"state_dict": detector | {"neck.0.weight": torch.ones(2)}, "meta": {}}, {"neck.0.weight"}
    if layout == "official mae":
        return {"model": state | decoder, "args": argparse.Namespace(lr=1e-3), "epoch": 3}, set(decoder)
    if layout == "ddp":
        return {"model": {f"module.{name}": value for name, value in state.items()}}, set()
    if layout == "classifier":
        return state | {"head.weight": torch.ones(3, 48), "head.bias": torch.ones(3)}, {"head.weight", "head.bias"}
    if layout == "inside a larger model":
        return {f"clip.trunk.{name}": value for name, value in state.items()} | {"scale": torch.ones(())}, {"scale"}
    raise AssertionError(layout)


LAYOUTS = {
    "pretraining": "mimtransfer pretraining (encoder.*)",
    "compiled pretraining": "mimtransfer pretraining (encoder.*)",
    "transfer": "OpenMMLab model (backbone.*)",
    "official mae": "official MAE (encoder and decoder)",
    "ddp": "timm",
    "classifier": "timm",
    "inside a larger model": "timm (clip.trunk.*)",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("build", [lambda: vit(seed=1), timm_vit], ids=["timm", "TimmViT"])
def test_every_source_loads_every_value(layout, build, save):
    state = vit(seed=0).state_dict()
    checkpoint, foreign = wrapped(state, layout)
    backbone = build()
    report = load_backbone(backbone, save(checkpoint))
    loaded = backbone.state_dict()
    assert set(loaded) == set(state) == set(report.matched)
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert report.source == LAYOUTS[layout]
    assert set(report.unexpected) == foreign
    assert (report.missing, report.expected_missing, report.resized) == ([], [], {})
    assert report.pretraining == ({"method": "MAE", "epoch": 3} if "pretraining" in layout else None)


def test_report_names_the_file_and_is_json(save):
    checkpoint, _ = wrapped(vit().state_dict(), "official mae")
    path = save(checkpoint)
    report = load_backbone(vit(seed=1, img_size=32), path)
    with open(path, "rb") as file:
        assert report.sha256 == hashlib.sha256(file.read()).hexdigest()
    resized = {"pos_embed": "grid 4x4 + 1 prefix -> grid 2x2 + 1 prefix"}
    assert json.loads(json.dumps(report.as_dict()))["resized"] == resized
    assert str(report).splitlines() == [
        f"Loaded {path} (official MAE (encoder and decoder), sha256 {report.sha256[:12]})",
        "  matched 30 of 30 backbone tensors",
        "  resized: pos_embed grid 4x4 + 1 prefix -> grid 2x2 + 1 prefix",
        "  not used from the file: decoder_embed.weight, decoder_blocks.*.norm1.bias, mask_token",
    ]


def test_safetensors_with_provenance(tmp_path):
    source = vit()
    state = {f"encoder.{name}": value for name, value in source.state_dict().items()}
    path = tmp_path / "vit.safetensors"
    save_file(state, path, metadata={"mimtransfer": json.dumps({"method": "MAE"})})
    backbone = vit(seed=1)
    report = load_backbone(backbone, path)
    assert all(torch.equal(a, b) for a, b in zip(backbone.state_dict().values(), source.state_dict().values()))
    assert report.pretraining == {"method": "MAE"}
    save_file(source.state_dict(), path)
    assert load_backbone(vit(seed=2), path).source == "timm"


def test_half_precision_file_is_cast(save):
    state = {name: value.half() for name, value in vit().state_dict().items()}
    backbone = vit(seed=1)
    load_backbone(backbone, save(state))
    for name, value in backbone.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, state[name].float())


def test_fine_tuned_average_pooling_gives_its_norm(save):
    source = vit(global_pool="avg", fc_norm=True)  # as MAE's fine-tuning: fc_norm and no norm
    backbone = vit(seed=1)
    report = load_backbone(backbone, save({"model": source.state_dict()}))
    assert torch.equal(backbone.norm.weight, source.fc_norm.weight)
    assert torch.equal(backbone.norm.bias, source.fc_norm.bias)
    assert report.source == "timm classifier (fc_norm taken as norm)"


# What must not load


def refused(backbone, path):
    """Load into the backbone, which must fail and leave it as it was; return the message."""
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_backbone(backbone, path)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    message = str(error.value)
    assert "\n" not in message and path in message
    return message


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ({"embed_dim": 96}, ["only 0 of 30 backbone tensors fit", "is 96x3x16x16 there, expected 48x3x16x16",
                             "the file is width 96, 2 blocks, the backbone width 48, 2 blocks"]),
        ({"depth": 1}, ["only 18 of 30 backbone tensors fit", "not in the file: blocks.* (12)",
                        "the file is width 48, 1 blocks, the backbone width 48, 2 blocks"]),
        ({"depth": 3}, ["deeper than the backbone", "blocks.2.norm1.weight", "width 48, 3 blocks"]),
        ({"class_token": False, "global_pool": ""}, ["29 of 30", "not in the file: cls_token", "class_token=False"]),
        ({"init_values": 0.1}, ["inside its blocks that the backbone lacks: blocks.*.ls1.gamma (2), blocks.*.ls2"]),
    ],
    ids=["width", "shallower", "deeper", "no class token", "layer scale"],
)
def test_another_architecture_is_refused(there, says, save):
    message = refused(vit(seed=1), save(vit(**there).state_dict()))
    assert all(part in message for part in says), message


def test_a_cut_backbone_takes_the_whole_encoder(save):
    source = vit(depth=3)
    cut = timm_vit(out_indices=(1,), model_kwargs={**SMALL, "depth": 3})
    report = load_backbone(cut, save(source.state_dict()))
    assert torch.equal(cut.blocks[1].mlp.fc2.weight, source.blocks[1].mlp.fc2.weight)
    assert "blocks.2.mlp.fc2.weight" in report.unexpected
    assert "deeper than the backbone" in refused(timm_vit(), save(source.state_dict()))


@pytest.mark.parametrize(
    ("content", "has"),
    [
        ({}, "no tensors"),
        ({"optimizer": {"lr": 1.0}}, "no tensors"),
        ({"state_dict": {"head.weight": torch.ones(2)}}, "'head.weight'"),
    ],
)
def test_a_file_without_a_backbone(content, has, save):
    message = refused(vit(), save(content))
    assert f"of the 30 tensors needed, such as 'cls_token', it has none (it has {has})" in message


def test_two_encoders_in_one_file_are_not_guessed(save):
    state = vit().state_dict()
    both = {f"{who}.{name}": value for who in ("student", "teacher") for name, value in state.items()}
    assert read_format(both).source == "unknown"
    assert "'student.cls_token'" in refused(vit(seed=1), save(both))


def test_a_diverged_training_is_refused(save):
    state = vit().state_dict()
    state["blocks.1.mlp.fc1.weight"][0, 0] = float("nan")
    assert "NaN or infinity in 1 backbone tensors, first 'blocks.1.mlp.fc1.weight'" in refused(vit(seed=1), save(state))
    state["blocks.1.mlp.fc1.weight"][0, 0] = 0.0
    state["blocks.0.mlp.fc1.weight"][0, :2] = torch.tensor([float("inf"), -float("inf")])
    assert "NaN or infinity in 1 backbone tensors, first 'blocks.0.mlp.fc1.weight'" in refused(vit(seed=1), save(state))


def test_large_numbers_are_finite_though_their_sum_is_not(save):
    state = vit().state_dict()
    state["blocks.1.mlp.fc1.weight"].fill_(3e38)
    model = vit(seed=1)
    load_backbone(model, save(state))
    assert (model.blocks[1].mlp.fc1.weight == 3e38).all()


def test_init_weights_loads_and_keeps_the_report(save):
    source = vit()
    checkpoint, _ = wrapped(source.state_dict(), "pretraining")
    backbone = timm_vit(init_cfg={"type": "Pretrained", "checkpoint": save(checkpoint)})
    backbone.init_weights()
    assert torch.equal(backbone.blocks[1].attn.qkv.weight, source.blocks[1].attn.qkv.weight)
    assert backbone.load_report.pretraining == {"method": "MAE", "epoch": 3}


class ConvNet(nn.Module):
    """A backbone without tokens, with batch norm: names as in timm's ResNets."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.layer1 = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))


def test_batch_norm_statistics_belong_to_the_backbone(save):
    source, backbone = ConvNet(), ConvNet()
    source.layer1[0][1].running_mean.fill_(3.0)
    state = source.state_dict()
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    without = {name: value for name, value in state.items() if name not in counters}
    report = load_backbone(backbone, save(without))
    assert torch.equal(backbone.layer1[0][1].running_mean, torch.full((4,), 3.0))
    assert report.expected_missing == counters
    del state["layer1.0.1.running_var"]
    assert "not in the file: layer1.*.*.running_var" in refused(backbone, save(state))
