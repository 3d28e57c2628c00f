"""A batch of made-up images for a detector of mmdet, and what stands in for values that only a trained model has.

Anchors, assigners, samplers and targets are mmdet's, on real boxes. What cannot be known is replaced by the most that
training meets: the RPN proposes boxes of which enough lie on objects, so that every image fills its quota of positive
boxes (512, 128 of them positive, in Mask R-CNN) from the first step on; stages of a cascade hand these boxes on; the
Hungarian matching gives every object a query. Not counted are the temporaries of NMS, tens of MB.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from mmcv.ops import roi_align
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mimtransfer.planning.fake import Fake
from mimtransfer.planning.step import Task

OBJECTS = 20  # in an image; COCO has 7 on average


class MadeUpMasks(BitmapMasks):
    """Masks without content; cropping them to boxes holds what it holds in a training, where nothing is computed."""

    fake: Fake

    def pad(self, out_shape: tuple[int, int], pad_val: int = 0) -> MadeUpMasks:
        """Stay as they are: they have the size of the batch."""
        return self

    def __deepcopy__(self, memo: dict) -> MadeUpMasks:
        return self

    def crop_and_resize(self, bboxes: np.ndarray, out_shape: tuple[int, int], inds: np.ndarray, device: str = "cpu",
                        interpolation: str = "bilinear", binarize: bool = True) -> BitmapMasks:
        """Crop each box from the mask of its object: mmdet gathers a whole mask in float32 for each box."""
        count = len(bboxes)
        gathered = self.fake.empty(count, 1, self.height, self.width, dtype=torch.uint8).to(torch.float32)
        boxes = torch.from_numpy(np.concatenate([np.arange(count)[:, None], bboxes], 1).astype(np.float32))
        roi_align(gathered, boxes, out_shape, 1.0, 0, "avg", True)
        return BitmapMasks(np.zeros((count, *out_shape), np.uint8), *out_shape)


def detection_task(cfg: Config, size: tuple[int, int], classes: int) -> Task:
    """Return the task of a detector's config, on images of `size` (height, width)."""
    heads: Any = cfg.model.get("roi_head") or {}
    with_mask = bool(heads.get("mask_head")) or "panoptic_head" in cfg.model

    def data(fake: Fake, model: nn.Module, images: int) -> dict[str, Any]:
        samples = [_sample(fake, size, classes, with_mask, number) for number in range(images)]
        return dict(inputs=[fake.empty(3, *size, dtype=torch.uint8) for _ in range(images)], data_samples=samples)

    return Task(lambda: MODELS.build(cfg.model), data, size, around=lambda model: _stand_ins(model, size))


def _boxes(size: tuple[int, int]) -> Tensor:
    """Return boxes of objects of many sizes, [OBJECTS, 4], the same for each image."""
    draw = torch.Generator().manual_seed(0)
    height, width = size
    sides = (0.06 * 10 ** torch.rand(OBJECTS, 2, generator=draw)) * torch.tensor([width, height])  # 6 to 60 %
    corner = torch.rand(OBJECTS, 2, generator=draw) * (torch.tensor([width, height]) - sides)
    return torch.cat([corner, corner + sides], 1)


def _sample(fake: Fake, size: tuple[int, int], classes: int, with_mask: bool, number: int) -> DetDataSample:
    boxes = _boxes(size)
    instances = InstanceData(bboxes=boxes, labels=torch.arange(len(boxes)) % classes)
    if with_mask:
        instances.masks = MadeUpMasks(np.zeros((len(boxes), *size), np.uint8), *size)
        instances.masks.fake = fake
    meta = dict(img_shape=size, batch_input_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), img_id=number)
    return DetDataSample(gt_instances=instances, metainfo=meta)


def _proposals(size: tuple[int, int], number: int) -> InstanceData:
    """Return boxes as of a trained RPN: the first third lies on objects."""
    draw = torch.Generator().manual_seed(1)
    objects, on_object = _boxes(size), number // 3
    near = objects[torch.arange(on_object) % OBJECTS]
    sides = (near[:, 2:] - near[:, :2]).repeat(1, 2)
    near = near + (torch.rand(near.shape, generator=draw) - 0.5) * 0.2 * sides
    height, width = size
    corner = torch.rand(number - on_object, 2, generator=draw) * torch.tensor([width, height]) * 0.9
    away = torch.cat([corner, corner + 0.03 * torch.tensor([width, height])], 1)
    boxes = torch.cat([near, away]).clamp(min=0).min(torch.tensor([width, height, width, height]))
    return InstanceData(bboxes=boxes, scores=torch.rand(number, generator=draw),
                        labels=torch.zeros(number, dtype=torch.int64))


@contextlib.contextmanager
def _stand_ins(model: Any, size: tuple[int, int]) -> Iterator[None]:
    """Replace what reads predictions."""
    with contextlib.ExitStack() as stack:
        if getattr(model, "with_rpn", False) and hasattr(model, "roi_head"):
            config = model.train_cfg.get("rpn_proposal", model.test_cfg.get("rpn"))

            def predict_by_feat(scores: list[Tensor], *args: Any, **kwargs: Any) -> list[InstanceData]:
                return [_proposals(size, config.get("max_per_img", 1000)) for _ in range(len(scores[0]))]

            stack.enter_context(mock.patch.object(model.rpn_head, "predict_by_feat", predict_by_feat))
            heads = model.roi_head.bbox_head if model.roi_head.with_bbox else []
            for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
                stack.enter_context(mock.patch.object(head, "refine_bboxes", _same_boxes))
        matching = "mmdet.models.task_modules.assigners.hungarian_assigner.linear_sum_assignment"
        stack.enter_context(mock.patch(matching, _any_matching))
        yield


def _same_boxes(sampling_results: list, *args: Any, **kwargs: Any) -> list[InstanceData]:
    return [InstanceData(bboxes=sampled.priors) for sampled in sampling_results]


def _any_matching(cost: Tensor) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.arange(min(cost.shape))
    return pairs, pairs
