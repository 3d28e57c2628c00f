"""UperNet, ViT-L/16, ADE20K at 512, BEiT's recipe after fine-tuning on ImageNet-22k (arXiv 2106.08254).

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained beit_vit-large.pth
Score     not yet run here; no time known
"""
_base_ = "./upernet_beit-ft_vit-base_160k_ade20k-512x512.py"
from mimtransfer.training.recipes import upernet_size

protocol = "UperNet as fine-tuned BEiT ViT-L, ADE20K 512, 160k iterations"
model = upernet_size("vit_large_patch16_224", layer_scale=1e-6)
optim_wrapper = dict(optimizer=dict(lr=2e-5), paramwise_cfg=dict(layer_decay_rate=0.95))
