"""ImageNet-Sketch: top-1 of a ViT-B/16 fine-tuned on ImageNet-1K.

Command   python tools/test.py CONFIG WORK_DIR/epoch_100.pth --work-dir WORK_DIR/imagenet-sketch
Data      data/imagenet-sketch/nXXXXXXXX/*: 50,889 sketches, 1,000 classes (arXiv 1905.13549)
Score     not yet run; no time known
"""
_base_ = "../classification/finetune_mfm_vit-base_100e_in1k.py"
protocol = "ImageNet-Sketch, fine-tuning of MFM, 100 epochs"
test_dataloader = dict(
    dataset=dict(root="data/imagenet-sketch", trained_classes="imagenet-1k", tested_classes="imagenet-1k")
)
