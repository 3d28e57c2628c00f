"""ADE20K by frozen patch tokens of a ViT-B/16 and logistic regression.

Command   python tools/test.py CONFIG --pretrained mae_vit-base.pth --amp
Data      data/ade/ADEChallengeData2016: {images,annotations}/{training,validation} (docs/transfer.md)
Time      not yet run here
Score     none published under this protocol; not yet run here
"""
_base_ = [
    "../_base_/model/frozen_maps_vit-base.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/frozen_segmentation_runtime.py",
]
protocol = "patch logistic regression, ADE20K 512, 64 patches an image"
train_dataloader = None
train_cfg = None
val_cfg = None
val_dataloader = None
val_evaluator = None
test_cfg = dict(
    type="mimtransfer.PatchLogisticLoop",
    patches_per_image=64,  # of 1,024 or more
    memory_dataloader=dict(
        batch_size=1,
        num_workers=4,
        sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
        dataset=dict(
            type="ADE20KDataset",
            data_root="data/ade/ADEChallengeData2016",
            data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
            pipeline=_base_.test_pipeline,
        ),
    ),
)
