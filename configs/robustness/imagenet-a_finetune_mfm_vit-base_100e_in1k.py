"""ImageNet-A: top-1 of a ViT-B/16 fine-tuned on ImageNet-1K.

Command   python tools/test.py CONFIG WORK_DIR/epoch_100.pth --work-dir WORK_DIR/imagenet-a
Data      data/imagenet-a/nXXXXXXXX/*: 7,500 natural images that classifiers get wrong, 200 classes (arXiv 1907.07174)
Score     not yet run; no time known

Predicted is the best of the 200 classes, as the authors of the data do.
"""
_base_ = "../classification/finetune_mfm_vit-base_100e_in1k.py"
protocol = "ImageNet-A, fine-tuning of MFM, 100 epochs"
test_dataloader = dict(dataset=dict(root="data/imagenet-a", trained_classes="imagenet-1k", tested_classes="imagenet-a"))
