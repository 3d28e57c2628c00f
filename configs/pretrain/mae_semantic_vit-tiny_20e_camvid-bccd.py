"""MAE with semantic masking on CamVid and BCCD; else as mae_vit-tiny_20e_camvid-bccd.py."""
_base_ = ["mae_vit-tiny_20e_camvid-bccd.py"]
model = dict(strategy=dict(type="SemanticMasking", mask_ratio=0.75, warmup=dict(type="RandomMasking", mask_ratio=0.75)))
custom_hooks = [*_base_.custom_hooks, dict(type="MapBankHook", begin=4, interval=4)]
