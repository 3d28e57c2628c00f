"""Thumbnails with boxes, masks or index maps, and transfer configs shrunk to them."""
import torch
from one_step import narrow_mlps


def detection_batch(height, width, num_classes, with_mask):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData
    boxes = torch.tensor([[4.0, 2.0, 40.0, 22.0], [20.0, 8.0, 62.0, 30.0]])
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
    """Return (height, width) of the picture, which the model pads no further, and the number of pictures."""
    # DINO's encoder must offer as many places as there are queries, 900; elsewhere few places keep the proposals few.
    size = (224, 224) if cfg.model.get("num_queries") else (32, 64)
    narrow_mlps(cfg.model.backbone)
    if "rcnn" in (cfg.model.get("test_cfg") or {}):
        cfg.model.test_cfg.rcnn.max_per_img = 10  # of LVIS each has 1203 masks
    preprocessor = cfg.model.data_preprocessor
    if "size" in preprocessor:
        preprocessor.size = size
    elif preprocessor.pad_size_divisor > 32:
        preprocessor.pad_size_divisor = 32
    for augment in preprocessor.get("batch_augments") or []:
        augment.size = size
    if cfg.optim_wrapper.get("accumulative_counts"):
        cfg.optim_wrapper.accumulative_counts = 1
    # The coarsest map pooled by UperNet is a single place: its batch norm needs a second picture.
    return size, 1 if cfg.task == "detection" else 2
