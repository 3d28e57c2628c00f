"""MAE + AMT with the cross-attention decoder, ViT-B/16, 400 epochs on ImageNet-1K: 45 % masked, of which 25 % of all
patches are predicted, and 40 % thrown.

A combination of ours: masks of AMT (arXiv 2211.15362v2), all else as CrossMAE (`mae_cross_vit-base_800e_in1k.py`), its
rule of the lr included.
Aims at: no published score.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096. Not yet run here.
"""
_base_ = ["./mae_amt_vit-base_400e_in1k.py"]
model = dict(decoder=dict(type="CrossDecoder", depth=12, predict_ratio=0.25), norm_pix_loss=True)
optim_wrapper = dict(optimizer=dict(lr=1.5e-4 * 0.25 / 0.45))
custom_hooks = [
    *_base_.custom_hooks[:-2], dict(type="RecordHook", label="CrossMAE + AMT"), _base_.custom_hooks[-1]
]
