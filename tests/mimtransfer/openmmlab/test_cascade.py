"""DetectronCascadeRoIHead: what the stages hand on, what gradients they send, and what is averaged."""
import pytest
import torch
from mmengine.structures import InstanceData
from transfer_configs import build, load

from mimtransfer.registry import MODELS

SIDE = 64


@pytest.fixture(scope="module")
def head():
    cfg = load("detection/cascade-mask-rcnn_vitdet_vit-base_100e_coco.py")
    roi = cfg.model.roi_head
    for box_head in roi.bbox_head:
        box_head.update(in_channels=8, conv_out_channels=8, fc_out_channels=16, num_classes=3)
    for extractor in (roi.bbox_roi_extractor, roi.mask_roi_extractor):
        extractor.out_channels = 8
    roi.mask_head.update(in_channels=8, conv_out_channels=8, num_classes=3)
    roi.update(train_cfg=cfg.model.train_cfg.rcnn, test_cfg=cfg.model.test_cfg.rcnn)
    torch.manual_seed(0)
    found = MODELS.build(roi)
    found.init_weights()
    for box_head in found.bbox_head:  # that refine their boxes visibly
        torch.nn.init.normal_(box_head.fc_reg.weight, std=0.5)
    return found


def batch():
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    generator = torch.Generator().manual_seed(0)
    maps = tuple(torch.randn(1, 8, SIDE // s, SIDE // s, generator=generator).requires_grad_() for s in (4, 8, 16, 32))
    truth = torch.tensor([[4.0, 4, 36, 40], [30, 20, 60, 50]])
    boxes = truth.repeat(20, 1) + 6 * torch.randn(40, 4, generator=generator)
    sample = DetDataSample(metainfo=dict(img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE), scale_factor=(1.0, 1.0)))
    masks = BitmapMasks([torch.ones(SIDE, SIDE).byte().numpy()] * 2, SIDE, SIDE)
    sample.gt_instances = InstanceData(bboxes=truth, labels=torch.tensor([0, 2]), masks=masks)
    return maps, [InstanceData(bboxes=boxes.clamp(0, SIDE), scores=torch.rand(40))], [sample]


def test_each_stage_gets_all_boxes_of_the_one_before_and_masks_are_learned_once(head, monkeypatch):
    seen = []
    forward = type(head)._bbox_forward
    monkeypatch.setattr(type(head), "_bbox_forward",
                        lambda self, stage, x, rois: seen.append(rois) or forward(self, stage, x, rois))
    maps, proposals, samples = batch()
    losses = head.train().loss(maps, proposals, samples)
    assert [len(rois) for rois in seen] == [42, 42, 42]  # 40 proposals, 2 true boxes: all of them, refined twice
    assert {name for name in losses if "loss" in name} == {
        "s0.loss_mask", *(f"s{stage}.loss_{part}" for stage in range(3) for part in ("cls", "bbox"))}
    assert len(head.mask_head) == 1


def test_the_stages_together_pull_at_the_maps_like_one(head):
    maps, proposals, _ = batch()
    rois = torch.cat([torch.zeros(40, 1), proposals[0].bboxes], 1)
    features = head.bbox_roi_extractor[0](maps, rois)
    weight = torch.randn_like(features)
    whole = torch.autograd.grad((features * weight).sum(), maps[0])[0]
    results = head.train()._bbox_forward(0, maps, rois)
    third = torch.autograd.grad((results["bbox_feats"] * weight).sum(), maps[0])[0]
    torch.testing.assert_close(third, whole / 3)


@torch.no_grad()
def test_probabilities_are_averaged_over_the_stages(head, monkeypatch):
    maps, proposals, samples = batch()
    proposals = [proposals[0][:5]]
    logits = 5 * torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
    for box_head, given in zip(head.bbox_head, logits):
        monkeypatch.setattr(box_head, "forward", lambda x, given=given: (given, torch.zeros(5, 4)))
    rois = torch.cat([torch.zeros(5, 1), proposals[0].bboxes], 1)
    _, (mean,), _ = head.eval()._refine_roi(maps, rois, [samples[0].metainfo], (5,))
    torch.testing.assert_close(mean.softmax(-1), logits.softmax(-1).mean(0))
    assert (mean.softmax(-1) - logits.mean(0).softmax(-1)).abs().max() > 0.05  # mean of logits: something else


def test_whole_model_builds_with_one_mask_head():
    model = build(load("detection/cascade-mask-rcnn_vitdet_vit-base_100e_lvis.py"))
    assert len([name for name, _ in model.named_parameters() if name.endswith("conv_logits.weight")]) == 1
