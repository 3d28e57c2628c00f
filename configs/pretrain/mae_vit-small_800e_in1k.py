"""MAE, ViT-S/16, 800 epochs on ImageNet-1K, with the light decoder (width 128) of the published ViT-S runs of
FAMT's code.

Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 512 = 4096. Not yet run here.
"""
_base_ = ["./mae_vit-base_800e_in1k.py"]
model = dict(encoder=dict(arch="vit_small_patch16_224"), decoder=dict(embed_dim=128))
train_dataloader = dict(batch_size=512)
optim_wrapper = dict(accumulative_counts=1)
