"""CamVid at 96 x 72 pixels by frozen patch tokens of a ViT-Ti/4 and logistic regression.

Command   python tools/test.py CONFIG --pretrained work_dirs/CKPT
Data      as knn_vit-tiny-p4_camvid-cpu.py
Score     mIoU, at 480 x 360, of a smaller ViT: docs/results/frozen.md
"""
_base_ = "./knn_vit-tiny-p4_camvid-cpu.py"
protocol = "patch logistic regression, CamVid at 96 x 72, 123 images, 100 patches an image, 78 tested"
test_cfg = dict(type="mimtransfer.PatchLogisticLoop")
