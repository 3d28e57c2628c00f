"""The small Mask R-CNN of mask-rcnn_vit-demo.py on a ResNet-50 and FPN: strides 4 to 32 instead of 4 to 16."""
_base_ = "./mask-rcnn_vit-demo.py"

strides = [4, 8, 16, 32]
model = dict(
    # BatchNorm trains: a random initialisation, which is in the same table, has no statistics to keep.
    backbone=dict(_delete_=True, type="mimtransfer.TimmCNN", arch="resnet50", img_size=64, out_indices=(0, 1, 2, 3)),
    neck=dict(_delete_=True, type="FPN", in_channels=[256, 512, 1024, 2048], out_channels=32, num_outs=4),
    rpn_head=dict(anchor_generator=dict(strides=strides)),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=strides), mask_roi_extractor=dict(featmap_strides=strides)),
)
