"""MAE with the cross-attention decoder (CrossMAE), ViT-B/16, 800 epochs on ImageNet-1K: 75 % masked, 25 % predicted.

Settings of the released command (TonyLianLong/CrossMAE): decoder of 12 blocks, width 512, weighted features of the
encoder. Its lr is 1.5e-4 x predicted / masked patches.
Aims at: fine-tuning 83.7 (its README, a run that predicts all masked patches); MAE at 800 epochs: 83.3.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096. Not yet run here.
"""
_base_ = ["./mae_vit-base_800e_in1k.py"]
model = dict(decoder=dict(type="CrossDecoder", depth=12, predict_ratio=0.25))
optim_wrapper = dict(optimizer=dict(lr=1.5e-4 * 0.25 / 0.75))
custom_hooks = [*_base_.custom_hooks[:-1], dict(type="RecordHook", label="CrossMAE")]
