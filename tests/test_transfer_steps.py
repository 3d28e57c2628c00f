"""Every shipped transfer config does one training step and one evaluation.

Their layers, names and losses are those of the config; the picture, the batch, the widths and the number of proposals
and queries are small. ViT-L and ViT-H run at real size, too, on the meta device: backbone, neck and the heads that read
whole maps.
"""
import copy
import re
from itertools import groupby

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from shipped_configs import unique as equal_once
from torch.utils._pytree import tree_flatten
from transfer_batches import detection_batch, segmentation_batch, shrink
from transfer_configs import LEAVES, build, load, num_classes

LARGE = [leaf for leaf in LEAVES if "vit-large" in leaf or "vit-huge" in leaf]


pytestmark = pytest.mark.usefixtures("quick_weights")


def unique(leaves):
    """Keep one leaf of each model and optimizer; only those named alike but for the number of epochs can be equal."""
    def without_epochs(leaf):
        return re.sub(r"_\d+e_", "_", leaf)

    def what_is_built(leaf):
        cfg = load(leaf)
        return str((cfg.model.to_dict(), cfg.optim_wrapper.to_dict()))

    kept = {}
    for _, alike in groupby(sorted(leaves, key=without_epochs), key=without_epochs):
        alike = list(alike)
        kept.update(zip(map(what_is_built, alike) if len(alike) > 1 else alike, alike))
    return sorted(kept.values())


@pytest.mark.parametrize("leaf", unique(LEAVES))
def test_one_training_step_and_one_evaluation(leaf):
    """Every trainable parameter gets a gradient, so DDP needs no search for unused ones."""
    cfg = load(leaf)
    size, number = shrink(cfg)
    torch.manual_seed(0)
    model = build(cfg, "cpu").train()
    model.init_weights()  # mmdet's level embeddings are raw memory before
    with_mask = "mask_head" in cfg.model.get("roi_head", {}) or "panoptic_head" in cfg.model
    if cfg.task == "detection":
        samples = [detection_batch(*size, num_classes(cfg)[0], with_mask) for _ in range(number)]
    else:
        samples = [segmentation_batch(*size, num_classes(cfg)[0]) for _ in range(number)]
    inputs = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for _ in samples]
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
    before = [p.detach().clone() for p in trained if p.ndim == 1]
    optim_wrapper.step()
    assert any(not torch.equal(*pair) for pair in zip([p for p in trained if p.ndim == 1], before))
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
        assert labels.shape == (1, *size) and labels.max() < num_classes(cfg)[0]


def maps_made(leaf):
    """Return what decides the maps and which heads read them; the heads of regions read boxes."""
    model = load(leaf).model.to_dict()
    del model["backbone"]["drop_path_rate"]
    return [model.get(part) for part in ("backbone", "neck", "rpn_head", "decode_head", "auxiliary_head")]


@pytest.mark.parametrize("leaf", equal_once(LARGE, maps_made))
def test_the_largest_at_their_real_size(leaf):
    cfg = load(leaf)
    model = build(cfg).train()
    side = cfg.model.backbone.get("rel_pos_size") or cfg.crop_size[0]
    maps = model.neck(model.backbone(torch.empty(2, 3, side, side, device="meta")))
    sides = [side // stride for stride in (4, 8, 16, 32, 64)][:len(maps)]
    assert [tuple(m.shape[2:]) for m in maps] == [(s, s) for s in sides]
    heads = [model.rpn_head] if cfg.task == "detection" else [model.decode_head, model.auxiliary_head]
    assert all(output.is_meta for output in tree_flatten([head(maps) for head in heads])[0])


@pytest.mark.parametrize("leaf", [leaf for leaf in LARGE if leaf.startswith("detection")])
def test_the_largest_have_the_heads_of_vit_b(leaf):
    base = load(leaf.replace("vit-large", "vit-base").replace("vit-huge", "vit-base").replace("75e", "100e"))
    for part in ("rpn_head", "roi_head", "train_cfg", "test_cfg"):
        assert load(leaf).model[part] == base.model[part]
