"""CamVid by frozen patch tokens of a ViT-Ti/16 and the 20 nearest labelled patches.

Command   python tools/test.py CONFIG --pretrained work_dirs/CKPT
Data      data/camvid/{images,annotations}/{train,test} (docs/transfer.md)
Time      minutes of a CPU core; not yet timed
Score     mIoU on test: not yet run
"""
_base_ = [
    "../_base_/model/frozen_maps_vit-base.py",
    "../_base_/data/camvid.py",
    "../_base_/frozen_segmentation_runtime.py",
]
protocol = "patch k-NN, CamVid, 100 patches an image"
model = dict(backbone=dict(arch="vit_tiny_patch16_224"))
train_dataloader = None
train_cfg = None
val_cfg = None
val_dataloader = None
val_evaluator = None
test_cfg = dict(
    type="mimtransfer.PatchKNNLoop",
    patches_per_image=100,  # of 690
    memory_dataloader=dict(
        batch_size=1,
        num_workers=2,
        sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
        dataset=dict(
            type="BaseSegDataset",
            data_root="data/camvid/",
            data_prefix=dict(img_path="images/train", seg_map_path="annotations/train"),
            metainfo=_base_.metainfo,
            pipeline=_base_.test_pipeline,
        ),
    ),
)
