"""ImageNet-C: mean corruption error of a fine-tuned ViT-B/16, relative to AlexNet, corruptions computed on the fly.

Command   torchrun --nproc_per_node=8 tools/test.py CONFIG WORK_DIR/epoch_100.pth --launcher pytorch \
              --work-dir WORK_DIR/corruptions
Data      data/imagenet/val; photographs of frost: set `frost_pictures` (docs/robustness.md), else frost is drawn
Time      76 passes over 50,000 images, and JPEG on the CPU: not yet run
Score     mCE: not yet run

The published files are JPEG of quality 85, hence `jpeg_quality`.
"""
_base_ = "../classification/finetune_mfm_vit-base_100e_in1k.py"
protocol = "ImageNet-C on the fly, fine-tuning of MFM, 100 epochs"
test_cfg = dict(type="CorruptionLoop", baseline="alexnet", jpeg_quality=85)
