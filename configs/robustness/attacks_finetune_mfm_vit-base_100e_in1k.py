"""Accuracy of a fine-tuned ViT-B/16 on ImageNet-1K under FGSM and PGD (5 steps of 0.5), epsilon 1, in levels of 255.

Command   torchrun --nproc_per_node=8 tools/test.py CONFIG WORK_DIR/epoch_100.pth --launcher pytorch \
              --work-dir WORK_DIR/attacks
Data      data/imagenet/val
Score     not yet run; no time known

The setting of RVT (arXiv 2105.07926 and its code).
"""
_base_ = "../classification/finetune_mfm_vit-base_100e_in1k.py"
protocol = "attacks, fine-tuning of MFM, 100 epochs, ImageNet-1k"
test_dataloader = dict(batch_size=64)
test_cfg = dict(type="AttackLoop", epsilon=1.0, steps=5, step_size=0.5)
