"""ADE20K by frozen patch tokens of a ViT-B/16 and logistic regression.

Command   python tools/test.py CONFIG --pretrained mae_vit-base.pth --amp
Data      data/ade/ADEChallengeData2016: {images,annotations}/{training,validation} (docs/transfer.md)
Time      not yet run here
Score     none published under this protocol; not yet run here
"""
_base_ = "./knn_vit-base_ade20k-512x512.py"
protocol = "patch logistic regression, ADE20K 512, 64 patches an image"
test_cfg = dict(type="mimtransfer.PatchLogisticLoop")
