"""CamVid by frozen patch tokens of a ViT-Ti/16 and logistic regression.

Command   python tools/test.py CONFIG --pretrained work_dirs/CKPT
Data      data/camvid/{images,annotations}/{train,test} (docs/transfer.md)
Time      minutes of a CPU core; not yet timed
Score     mIoU on test: not yet run
"""
_base_ = "./knn_vit-tiny_camvid.py"
protocol = "patch logistic regression, CamVid, 100 patches an image"
test_cfg = dict(type="mimtransfer.PatchLogisticLoop")
