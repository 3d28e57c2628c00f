"""MAE + AMT without throwing, ViT-B/16, 400 epochs on ImageNet-1K: 75 % masked, the defaults of the released code.

Aims at: linear probe 2.9 to 5.9 above MAE on five data sets (abstract; which ratios they belong to is not said).
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096. Not yet run here.
"""
_base_ = ["./mae_amt_vit-base_400e_in1k.py"]
model = dict(strategy=dict(mask_ratio=0.75, throw_ratio=0.0))
