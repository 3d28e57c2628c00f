"""Thumbnails with boxes, masks or index maps, and transfer configs shrunk to them."""
import torch
from one_step import narrow

FEW = dict(num_queries=20, num_dn_queries=20, num=32, nms_pre=100, max_per_img=8, max_per_image=20, num_points=256)


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


def few(node):
    """Limit proposals, queries and points; of LVIS each detection has 1203 masks."""
    for key, value in node.items():
        if key in FEW and isinstance(value, int):
            node[key] = min(value, FEW[key])
        for child in value if isinstance(value, list | tuple) else [value]:
            if isinstance(child, dict):
                few(child)


def shrink(cfg):
    """Return (height, width) of the picture, which the model pads no further, and the number of pictures."""
    size = (32, 64)
    narrow(cfg.model, kept=(128, 256) if cfg.model.type == "DINO" else ())  # mmdet wrote 128 into its decoder
    few(cfg.model)
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
