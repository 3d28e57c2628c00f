"""MAE + AMT without throwing, ViT-S/16, 800 epochs on ImageNet-1K: "attention only" of the logs of FAMT's code.

Aims at: ImageNet-1K linear probe 48.33, fine-tuning 80.51 (logs, one run each). Theirs began as a plain MAE of 80
epochs, ours takes maps from epoch 40 on.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 512 = 4096. Not yet run here.
"""
_base_ = ["./mae_famt_vit-small_800e_in1k_mask-only.py"]
model = dict(strategy=dict(type="AMTMasking"))
