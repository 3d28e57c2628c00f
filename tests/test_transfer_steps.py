"""Every shipped transfer config does one training step and one evaluation.

Of the config only the picture, the batch, the number of samples and the width are small: ViT-B becomes ViT-Ti, unless
MIMTRANSFER_REAL_SIZE=1 is set (minutes, 4 GB). ViT-L and ViT-H run through backbone and neck at real size on the meta
device; their heads are those of ViT-B.
"""
import copy
import os

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from transfer_configs import LEAVES, build, load, nodes, num_classes

REAL_SIZE = os.environ.get("MIMTRANSFER_REAL_SIZE") == "1"
WIDTH = {"vit_base_patch16_224": 768, "vit_small_patch16_224": 384}
LARGE = [leaf for leaf in LEAVES if "vit-large" in leaf or "vit-huge" in leaf]


def detection_batch(height, width, num_classes, with_mask):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData
    boxes = torch.tensor([[4.0, 6.0, 40.0, 44.0], [20.0, 16.0, 62.0, 60.0]])
    instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, num_classes - 1]))
    if with_mask:
        masks = torch.zeros(2, height, width, dtype=torch.uint8)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist()):
            mask[y0:y1, x0:x1] = 1
        instances.masks = BitmapMasks(masks.numpy(), height, width)
    meta = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0), img_id=0)
    return DetDataSample(gt_instances=instances, metainfo=meta)


def segmentation_batch(height, width, num_classes):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    labels = torch.arange(height * width).reshape(1, height, width) % num_classes
    meta = dict(img_shape=(height, width), ori_shape=(height, width))
    return SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo=meta)


def shrink(cfg):
    """A picture of 64 x 96, few proposals, queries and points; narrow blocks."""
    model, size = cfg.model, (64, 96)
    if "size" in model.data_preprocessor:
        model.data_preprocessor.size = size
    elif model.data_preprocessor.pad_size_divisor > 32:
        model.data_preprocessor.pad_size_divisor = 32
    for augment in model.data_preprocessor.get("batch_augments") or []:
        augment.size = size
    if cfg.optim_wrapper.get("accumulative_counts"):
        cfg.optim_wrapper.accumulative_counts = 1
    wide = WIDTH.get(model.backbone.arch)
    if wide and not REAL_SIZE:
        model.backbone.arch = "vit_tiny_patch16_224"
        for node in list(nodes(model)):
            for key, value in node.items():
                if value == wide:
                    node[key] = 192
                elif value == [wide] * 4:
                    node[key] = [192] * 4
    if "roi_head" in model:
        model.train_cfg.rpn_proposal.max_per_img = 20
        stages = model.train_cfg.rcnn
        for stage in stages if isinstance(stages, list) else [stages]:
            stage.sampler.num = 16
        model.test_cfg.rpn.max_per_img = 4
        model.test_cfg.rcnn.max_per_img = 4
    for node in nodes(model):
        if "num_queries" in node:
            node["num_queries"] = 20
        if "num_points" in node and node["num_points"] > 64:
            node["num_points"] = 64


def unique(leaves):
    """Keep one leaf of each model: schedules and data do not matter here."""
    seen = {}
    for leaf in leaves:
        cfg = load(leaf)
        seen.setdefault(str((cfg.model.to_dict(), cfg.optim_wrapper.to_dict())), leaf)
    return list(seen.values())


@pytest.mark.parametrize("leaf", unique(leaf for leaf in LEAVES if leaf not in LARGE))
def test_one_training_step_and_one_evaluation(leaf):
    """Every trainable parameter gets a gradient, so DDP needs no search for unused ones."""
    cfg = load(leaf)
    shrink(cfg)
    torch.manual_seed(0)
    model = build(cfg, "cpu").train()
    with_mask = "mask_head" in cfg.model.get("roi_head", {}) or "panoptic_head" in cfg.model
    if cfg.task == "detection":
        samples = [detection_batch(64, 96, num_classes(cfg)[0], with_mask) for _ in range(2)]
    else:
        samples = [segmentation_batch(64, 96, num_classes(cfg)[0]) for _ in range(2)]
    inputs = [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8) for _ in samples]
    for module in model.backbone.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0  # a dropped block has no gradient in this step
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=copy.deepcopy(samples)), True)
    with optim_wrapper.optim_context(model):
        loss, _ = model.parse_losses(model(**data, mode="loss"))
    optim_wrapper.backward(loss)
    assert torch.isfinite(loss)
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    trained = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in trained]
    optim_wrapper.step()
    assert any(not torch.equal(*pair) for pair in zip(trained, before))
    optim_wrapper.zero_grad()
    model.eval()
    with torch.no_grad():
        (result,) = model.val_step(dict(inputs=inputs[:1], data_samples=samples[:1]))
    if cfg.task == "detection":
        boxes = result.pred_instances.bboxes
        assert boxes.shape[1] == 4 and torch.isfinite(boxes).all()
        assert ("masks" in result.pred_instances) == with_mask
        assert (result.pred_instances.labels < num_classes(cfg)[0]).all()
    else:
        labels = result.pred_sem_seg.data
        assert labels.shape == (1, 64, 96) and labels.max() < num_classes(cfg)[0]


@pytest.mark.parametrize("leaf", unique(LARGE))
def test_the_largest_at_their_real_size(leaf):
    cfg = load(leaf)
    model = build(cfg)
    side = cfg.model.backbone.get("rel_pos_size") or cfg.crop_size[0]
    maps = model.neck(model.backbone(torch.empty(1, 3, side, side, device="meta")))
    sides = [side // stride for stride in (4, 8, 16, 32, 64)][:len(maps)]
    assert [tuple(m.shape[2:]) for m in maps] == [(s, s) for s in sides]
    if cfg.task == "detection":
        base = load(leaf.replace("vit-large", "vit-base").replace("vit-huge", "vit-base").replace("75e", "100e"))
        again = load(leaf)  # building filled in train_cfg and test_cfg
        for part in ("rpn_head", "roi_head", "train_cfg", "test_cfg"):
            assert again.model[part] == base.model[part]
