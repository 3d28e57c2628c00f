"""Checkpoints of small segmentors, depth estimators and classifiers with the configs they were trained with."""
from pprint import pformat

import torch
from exported import PIXELS
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from vit_families import random_state

import mimtransfer  # noqa: F401  before mmdet and mmseg

CLASSES = ("sky", "tree", "road")
VIT = dict(type="mimtransfer.TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8,
           model_kwargs=dict(embed_dim=48, depth=2, num_heads=3))
DEEPER = dict(VIT, model_kwargs=dict(embed_dim=48, depth=4, num_heads=3), out_indices=(0, 1, 2, 3))
BN = dict(type="BN", requires_grad=True)
PIPELINE = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=(64, 32), keep_ratio=True),
            dict(type="PackSegInputs")]


def preprocessor(**options):
    return {**dict(type="SegDataPreProcessor", **PIXELS, bgr_to_rgb=True, size=(32, 32)), **options}


def segmentor(**options):
    """Return the config of a UperNet, without a file."""
    return {**dict(
        type="EncoderDecoder", data_preprocessor=preprocessor(), backbone=DEEPER,
        neck=dict(type="Feature2Pyramid", embed_dim=48, rescales=[4, 2, 1, 0.5], norm_cfg=BN),
        decode_head=dict(type="UPerHead", in_channels=[48] * 4, in_index=[0, 1, 2, 3], channels=16, num_classes=3,
                         pool_scales=(1, 2, 3), norm_cfg=BN, align_corners=False), test_cfg=dict(mode="whole")),
        **options}


def one_map(head, **options):
    """Return the config of a model with a head on the last map."""
    return segmentor(backbone=VIT, neck=None, decode_head={**dict(in_channels=48, align_corners=False), **head},
                     **options)


FCN = dict(type="FCNHead", in_index=0, channels=16, num_convs=1, num_classes=3, norm_cfg=BN)


def trained(folder, model, scope="mmseg", config=True, pipeline=PIPELINE):
    """Write a checkpoint of random weights, and a config file where `config`; return their paths and the model."""
    init_default_scope(scope)
    torch.manual_seed(0)
    built = MODELS.build(model).eval()
    random_state(built)
    for name, value in built.state_dict().items():
        if name.endswith("running_var"):
            value.abs_()
        elif name.endswith("decode_head.conv_seg.weight"):
            value.sub_(value.mean(1, keepdim=True))  # so that not one class wins everywhere
        elif name.endswith("decode_head.conv_seg.bias"):
            value.zero_()
    dataset = dict(type="BaseSegDataset", pipeline=pipeline) if scope == "mmseg" else dict(transform=[])
    cfg = dict(default_scope=scope, model=model, test_dataloader=dict(dataset=dataset))
    torch.save({"state_dict": built.state_dict(),
                "meta": {"cfg": Config(cfg).pretty_text, "dataset_meta": {"classes": CLASSES}}}, folder / "iter_9.pth")
    if not config:
        return str(folder / "iter_9.pth"), None, built
    (folder / "model.py").write_text("".join(f"{key} = {pformat(value)}\n" for key, value in cfg.items()))
    return str(folder / "iter_9.pth"), str(folder / "model.py"), built


def pixels(height, width, batch=2):
    """Return pictures of squares of 8 pixels, integers of 0 ... 255 as float32."""
    generator = torch.Generator().manual_seed(5)
    squares = torch.randint(256, (batch, 3, -(-height // 8), -(-width // 8)), generator=generator)
    return squares.float().repeat_interleave(8, 2).repeat_interleave(8, 3)[:, :, :height, :width]


def normalised(images):
    mean, std = (torch.tensor(PIXELS[key])[:, None, None] for key in ("mean", "std"))
    return (images - mean) / std
