"""CamVid at 96 x 72 pixels by frozen patch tokens of a ViT-Ti/4 and the 20 nearest labelled patches.

For encoders of CIFAR-10, whose patches are of 4 pixels: 432 of an image. Positions are resampled from 8 x 8.

Command   python tools/test.py CONFIG --pretrained work_dirs/CKPT
Data      data/camvid/{images,annotations}/{train,test} (docs/transfer.md); every third image of each
Score     mIoU, at 480 x 360, of a smaller ViT: docs/results/frozen.md
"""
_base_ = "./knn_vit-tiny_camvid.py"
protocol = "patch k-NN, CamVid at 96 x 72, 123 images, 100 patches an image, 78 tested"
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(96, 72), keep_ratio=True),
    dict(type="LoadAnnotations"),  # behind the resize, so that maps keep their size
    dict(type="PackSegInputs"),
]
model = dict(backbone=dict(img_size=32, patch_size=4), data_preprocessor=dict(test_cfg=dict(size_divisor=4)))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, indices=list(range(0, 233, 3))))
test_cfg = dict(
    patches_per_image=100,  # of 432
    memory_dataloader=dict(dataset=dict(pipeline=test_pipeline, indices=list(range(0, 367, 3)))),
)
