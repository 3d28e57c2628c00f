"""CrossMAE, ViT-B/16, 800 epochs on ImageNet-1K, with a decoder of width 256, which the released code gives to ViT-S.

The cheapest of its size: 52 % of MAE's operations, where the published width of 512 takes 67 %.
Aims at: no published score.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096. Not yet run here.
"""
_base_ = ["./mae_cross_vit-base_800e_in1k.py"]
model = dict(decoder=dict(embed_dim=256, num_heads=8))
custom_hooks = [*_base_.custom_hooks[:-1], dict(type="RecordHook", label="CrossMAE, decoder 256")]
