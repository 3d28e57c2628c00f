"""Accuracy of a fine-tuned ViT-Ti/4 on CIFAR-10 under FGSM and PGD, epsilon 1/255, on 1,000 images.

Command   python tools/test.py CONFIG WORK_DIR/epoch_5.pth --work-dir WORK_DIR/attacks
Data      data/cifar10/test as class folders
Time      about 15 passes, 6 of them with gradients, over 1,000 images: not yet run
Score     not yet run
"""
_base_ = "../classification/finetune_vit-tiny-p4_5e_cifar10.py"
protocol = "attacks, fine-tuning, CIFAR-10, 5 epochs of 10000"
test_dataloader = dict(dataset=dict(num_images=1000))
test_cfg = dict(type="AttackLoop", epsilon=1.0, steps=5, step_size=0.5)
