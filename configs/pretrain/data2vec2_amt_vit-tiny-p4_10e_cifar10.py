"""data2vec 2.0 + AMT: maps from the teacher's forward pass on the very crops of a step; no bank, no measuring pass.
Everything else as data2vec2_vit-tiny-p4_10e_cifar10.py.

Command: TIMM_FUSED_ATTN=0 python tools/pretrain.py CONFIG --amp (on a CPU, bf16 attention is faster unfused).
Not yet run.
"""
_base_ = ["data2vec2_vit-tiny-p4_10e_cifar10.py"]
model = dict(
    strategy=dict(
        _delete_=True, type="AMTMasking", mask_ratio=0.45, throw_ratio=0.40, source="teacher",
        warmup=_base_.model.strategy,
    ),
    maps_begin=0.1,  # the published share: 41 of 400 epochs
)
