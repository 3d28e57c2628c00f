"""MAE, ViT-B/16, 800 epochs on ImageNet-1K: crops of 128 pixels for half of them, then 160, the last fifth at 224.

Aims at: no published number; mae_vit-base_800e_in1k.py for about half of its operations (tools/plan.py CONFIG).
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096, in all phases. Not yet run here.
"""
_base_ = ["./mae_vit-base_800e_in1k.py"]
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(type="RecordHook", label="MAE, 128 to 224 pixels"),
    dict(type="PhaseHook", phases=[
        dict(until=0.5, image_size=128), dict(until=0.8, image_size=160), dict(until=1.0, image_size=224)]),
]
