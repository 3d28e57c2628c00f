"""MAE + FAMT on the unlabelled embedded scenes, the third row of `make demo`; else as mae_vit-demo_scenes.py.

Command: python tools/pretrain.py CONFIG
"""
_base_ = ["mae_vit-demo_scenes.py"]
model = dict(
    strategy=dict(
        type="FAMTMasking", mask_ratio=0.45, throw_ratio=0.40, warmup=dict(type="RandomMasking", mask_ratio=0.75)
    )
)
# Published: first maps after 40 epochs of 400 to 1600, then every 40. Here once, after 20,000 images as docs/masking.md
# found it: a pass takes what two epochs of throwing save. On images of half the side.
custom_hooks = [*_base_.custom_hooks, dict(type="MapBankHook", begin=5, interval=10, batch_size=64, measure_size=32)]
