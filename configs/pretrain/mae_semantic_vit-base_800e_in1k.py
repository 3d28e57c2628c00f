"""MAE + semantic masking, ViT-B/16, 800 epochs on ImageNet-1K: whole regions stay visible (doi
10.1109/LSP.2024.3458792).

Aims at: linear probe 3.2, fine-tuning 0.5 and ADE20K 0.6 mIoU above MAE (abstract; epochs and absolute numbers are not
known to us), which has 65.1 and 83.3 at 800 epochs (mmpretrain).
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096. Not yet run here.
"""
_base_ = ["./mae_vit-base_800e_in1k.py"]
model = dict(strategy=dict(type="SemanticMasking", mask_ratio=0.75, warmup=dict(type="RandomMasking", mask_ratio=0.75)))
custom_hooks = [*_base_.custom_hooks, dict(type="MapBankHook", begin=40, interval=40)]
