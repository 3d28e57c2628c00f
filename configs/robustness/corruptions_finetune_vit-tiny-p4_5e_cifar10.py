"""Error of a fine-tuned ViT-Ti/4 on CIFAR-10 with the 15 corruptions of CIFAR-10-C, 5 severities, on 1,000 images.

Command   python tools/test.py CONFIG WORK_DIR/epoch_5.pth --work-dir WORK_DIR/corruptions
Data      data/cifar10/test as class folders; `num_images=None` for all 10,000, as CIFAR-10-C has
Time      not yet run; 9 ms of a CPU core an image for the corruptions, and 76 passes of a ViT-Ti/4 of 2 to 9 ms
Score     not yet run

mCE needs a baseline: `--cfg-options test_cfg.baseline=work_dirs/RANDOM/corruptions/result.json`, the record of the
classifier that counts as 100.
"""
_base_ = "../classification/finetune_vit-tiny-p4_5e_cifar10.py"
protocol = "corruptions, fine-tuning, CIFAR-10, 5 epochs of 10000"
test_dataloader = dict(dataset=dict(num_images=1000))
test_cfg = dict(type="CorruptionLoop")
