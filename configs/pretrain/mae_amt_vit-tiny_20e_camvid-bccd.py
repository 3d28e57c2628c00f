"""MAE with attention-driven masking and throwing on CamVid and BCCD; else as mae_vit-tiny_20e_camvid-bccd.py.

Published: first maps after 40 of 400 epochs, then every 40 (arXiv 2211.15362); here after 4 of 20, then every 4.
"""
_base_ = ["mae_vit-tiny_20e_camvid-bccd.py"]
model = dict(
    strategy=dict(
        type="AMTMasking", mask_ratio=0.45, throw_ratio=0.40, warmup=dict(type="RandomMasking", mask_ratio=0.75)
    )
)
custom_hooks = [*_base_.custom_hooks, dict(type="MapBankHook", begin=4, interval=4)]
