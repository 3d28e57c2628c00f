"""UperNet on EVA-02-B, 60k iterations of ADE20K at 512 in batches of 32: the settings of EVA-02 (arXiv 2303.11331).

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained eva02_B_pt_in21k_p14to16.pt
Settings  upernet_eva02_base_12_512_slide_60k.py of the authors' seg/configs
Score     55.3 mIoU (authors); not yet run here, no time known
"""
_base_ = "./upernet_vit-base_160k_ade20k-512x512.py"
from mimtransfer.training.recipes import iteration_linear

protocol = "UperNet EVA-02 ViT-B, ADE20K 512, 60k iterations"
model = dict(
    backbone=dict(arch="eva02_base_patch14_224", patch_size=16, rel_pos=None, layer_scale=None, drop_path_rate=0.15)
)
train_cfg, param_scheduler = iteration_linear(iters=60000, val_interval=6000)
optim_wrapper = dict(optimizer=dict(lr=6e-5), paramwise_cfg=dict(layer_decay_rate=0.85))
train_dataloader = dict(batch_size=4)  # 8 GPUs x 4 = 32
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(checkpoint=dict(interval=6000))
