"""TimmCNN against timm: names, features, any image size, and what transfer adds."""
import copy

import pytest
import timm
import torch
from deterministic import fill
from mmengine.config import Config

from mimtransfer.backbones.cnn import TimmCNN
from mimtransfer.backbones.inspect import view_block
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.methods.mae import MAE
from pretrain.methods.mfm import MFM
from pretrain.methods.simmim import SimMIM

TINY = dict(layers=(1, 2, 1, 1), channels=(8, 8, 16, 16))
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def tiny(**options) -> TimmCNN:
    """Return a ResNet with bottlenecks whose weights, batch statistics included, no initialisation makes."""
    torch.manual_seed(0)
    model = TimmCNN("resnet50", **{"model_kwargs": TINY, **options})
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize("arch, head", [
    ("resnet50", {"fc"}),
    ("resnet18d", {"fc"}),  # a stem of several convolutions
    ("resnetv2_50", {"norm", "head"}),
    ("regnety_002", {"head"}),
    ("convnext_atto", {"head"}),
    ("mobilenetv3_small_050", {"conv_head", "classifier"}),  # its stages are several blocks each
])
def test_maps_equal_those_of_timm(arch, head):
    backbone, classifier = TimmCNN(arch, out_indices=(0, 1, 2, 3)), timm.create_model(arch)
    state = {name: value for name, value in classifier.state_dict().items() if name.split(".")[0] not in head}
    backbone.load_state_dict(state, strict=True)
    features = timm.create_model(arch, features_only=True)
    # timm writes `stages_0` for `stages.0`.
    names = {name.replace(".", "_"): name for name in features.state_dict()}
    features.load_state_dict(
        {names[key]: value for name, value in state.items() if (key := name.replace(".", "_")) in names}, strict=False
    )
    backbone.eval(), features.eval()
    for size in ((75, 33), (64, 96)):
        images = torch.randn(2, 3, *size)
        maps, expected = backbone(images), features(images)[-4:]
        assert all(torch.equal(ours, other) for ours, other in zip(maps, expected, strict=True))
    assert [tuple(m.shape[1:]) for m in maps] == [(backbone.channels[i], 16 >> i, 24 >> i) for i in range(4)]
    assert backbone.patch_grid(images) == (2, 3) and backbone.embed_dim == backbone.channels[-1]
    assert backbone.patch_size == (32, 32) and backbone.grid_size == (7, 7) and backbone.num_prefix_tokens == 0


def test_stride_and_grid_follow_dilation():
    backbone = tiny(img_size=(32, 48), model_kwargs=dict(TINY, output_stride=8))
    (last,) = backbone(torch.randn(1, 3, 32, 48))
    assert backbone.patch_size == (8, 8) and backbone.grid_size == tuple(last.shape[-2:]) == (4, 6)


def test_stages_that_nobody_reads_do_not_exist():
    backbone, whole = tiny(out_indices=(2, 0)), tiny(out_indices=(0, 1, 2, 3))
    backbone.load_state_dict({n: v for n, v in whole.state_dict().items() if not n.startswith("layer4.")})
    images = torch.randn(2, 3, 64, 64)
    maps, expected = backbone(images), whole(images)
    assert torch.equal(maps[0], expected[2]) and torch.equal(maps[1], expected[0])
    sum(m.square().sum() for m in maps).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    cut = TimmCNN("convnext_atto", out_indices=(1,))
    assert len(cut.stages) == 2 and cut.patch_size == (8, 8)


def test_frozen_stages_neither_train_nor_change():
    backbone = tiny(frozen_stages=2, out_indices=(1, 3)).train()
    frozen = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert frozen == {
        n for n, _ in backbone.named_parameters() if n.startswith(("conv1.", "bn1.", "layer1.", "layer2."))
    }
    before = copy.deepcopy(backbone.state_dict())
    backbone(torch.randn(4, 3, 64, 64))
    changed = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {name for name, _ in backbone.named_buffers()}
    assert changed == {name for name in statistics if name.startswith(("layer3.", "layer4."))}
    assert [n for n, p in tiny(frozen_stages=0).named_parameters() if not p.requires_grad] == [
        "conv1.weight", "bn1.weight", "bn1.bias",
    ]


def test_norm_eval_keeps_statistics_and_trains_weights():
    images, backbone = torch.randn(4, 3, 64, 64), tiny(norm_eval=True)
    expected, before = backbone(images)[0], copy.deepcopy(backbone.state_dict())
    backbone.train()
    (found,) = backbone(images)
    assert torch.equal(found, expected) and backbone.training and backbone.layer1.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    found.square().sum().backward()
    assert backbone.bn1.weight.grad.abs().sum() > 0
    assert not torch.equal(tiny().train()(images)[0], expected)


def test_synchronised_norms_take_the_place_of_others():
    backbone = torch.nn.SyncBatchNorm.convert_sync_batchnorm(tiny(norm_eval=True))
    assert isinstance(backbone.get_submodule(backbone.steps[1]), torch.nn.SyncBatchNorm)
    backbone.train()
    assert not any(m.training for m in backbone.modules() if isinstance(m, torch.nn.SyncBatchNorm))


def test_a_checkpoint_of_mfm_loads_with_its_statistics(tmp_path):
    torch.manual_seed(1)
    method = MFM(dict(type="TimmCNN", arch="resnet50", model_kwargs=TINY), data_preprocessor=PREPROCESSOR,
                 corruption=dict(type="FrequencyMasking", radius=4))
    optimizer = torch.optim.SGD(method.parameters(), 0.1)
    for _ in range(3):
        loss = method(torch.randn(4, 3, 64, 64))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.isfinite()
    meta = {"mimtransfer": {"kind": "pretrain", "method": "MFM", "arch": "resnet50", "grid": [2, 2]}}
    torch.save(dict(state_dict=method.state_dict(), meta=meta), tmp_path / "mfm.pth")
    backbone = MODELS.build(dict(
        type="TimmCNN", model_kwargs=TINY, out_indices=(0, 1, 2, 3),
        init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "mfm.pth")),
    ))  # fmt: skip
    backbone.init_weights()
    report = backbone.load_report
    assert len(report.matched) == len(backbone.state_dict()) and report.pretraining["method"] == "MFM"
    assert not report.missing and not report.expected_missing and not report.resized
    assert set(report.unexpected) == {"head.0.weight", "head.0.bias", *(n for n in report.unexpected if "data_" in n)}
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(backbone.eval()(images)[3], method.eval().encoder(images)[0])
    assert backbone.bn1.num_batches_tracked == 3 and backbone.bn1.running_mean.abs().sum() > 0


def test_a_cut_backbone_takes_a_whole_file_and_other_depths_are_refused(tmp_path):
    torch.save(tiny().state_dict() | {"fc.weight": torch.ones(2)}, tmp_path / "resnet.pth")
    report = load_backbone(tiny(out_indices=(1,)), tmp_path / "resnet.pth")
    assert report.source == "timm" and {n.split(".")[0] for n in report.unexpected} == {"layer3", "layer4", "fc"}
    shallow = tiny(model_kwargs=dict(TINY, layers=(1, 1, 1, 1)))
    with pytest.raises(UserError, match=r"deeper.*width 64, 1-2-1-1 blocks, the backbone width 64, 1-1-1-1 blocks"):
        load_backbone(shallow, tmp_path / "resnet.pth")
    with pytest.raises(UserError, match="the file is width 64, 1-2-1-1 blocks, the backbone width 64, 2-2-1-1 blocks"):
        load_backbone(tiny(model_kwargs=dict(TINY, layers=(2, 2, 1, 1))), tmp_path / "resnet.pth")
    convnext = TimmCNN("convnext_atto")
    fill(convnext)
    torch.save(convnext.state_dict(), tmp_path / "convnext.pth")
    assert load_backbone(TimmCNN("convnext_atto", out_indices=(0, 2)), tmp_path / "convnext.pth").unexpected


@pytest.mark.parametrize("options, message", [
    (dict(arch="resnet5O"), "unknown arch='resnet5O' of TimmCNN: did you mean resnet5"),
    (dict(arch="vit_tiny_patch16_224"), "no convolutional network of stages"),
    (dict(arch="swin_tiny_patch4_window7_224"), "no convolutional network of stages"),
    (dict(out_indices=(4,)), r"out_indices=\(4,\) of TimmCNN must name stages out of 4"),
    (dict(frozen_stages=5), "frozen_stages=5"),
    (dict(model_kwargs=dict(num_classes=7)), "may not hold num_classes"),
    (dict(model_kwargs=dict(depth=3)), "timm cannot build .*depth"),
])
def test_mistakes_give_one_line(options, message):
    with pytest.raises(UserError, match=message) as error:
        TimmCNN(**{**dict(arch="resnet50", model_kwargs=TINY), **options})
    assert "\n" not in str(error.value)


def test_what_needs_patches_or_attention_says_so():
    encoder = dict(type="TimmCNN", arch="resnet50", model_kwargs=TINY)
    with pytest.raises(UserError, match=r"MAE: its encoder sees visible patches only, which TimmCNN cannot; choose"):
        MAE(encoder)
    with pytest.raises(UserError, match=r"SimMIM: TimmCNN has no patch tokens.*expected encoder TimmViT or TimmSwin"):
        SimMIM(encoder)
    with pytest.raises(UserError, match="attention maps need a plain ViT, got TimmCNN"):
        view_block(tiny(), torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize("name", [
    "detection/mask-rcnn_resnet50-demo_scenes", "detection/mask-rcnn_resnet50-fpn_1x_coco",
    "segmentation/upernet_resnet50-demo_scenes", "segmentation/upernet_resnet50_160k_ade20k-512x512",
])
def test_backbones_of_the_transfer_configs(name):
    cfg = Config.fromfile(f"configs/{name}.py").model
    heads = cfg.get("neck") or cfg.decode_head
    backbone = MODELS.build(cfg.backbone.to_dict())
    assert list(backbone.channels) == list(heads.in_channels) == [256, 512, 1024, 2048]
    assert "pretrained" not in cfg or cfg.pretrained is None
