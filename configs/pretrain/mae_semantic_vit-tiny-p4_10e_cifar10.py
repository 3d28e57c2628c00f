"""MAE with semantic masking; else as mae_vit-tiny-p4_10e_cifar10.py. Simpler regions: strategy.regions=parts.

Maps as in mae_amt_vit-tiny-p4_10e_cifar10.py.
"""
_base_ = ["mae_vit-tiny-p4_10e_cifar10.py"]
model = dict(strategy=dict(type="SemanticMasking", mask_ratio=0.75, warmup=dict(type="RandomMasking", mask_ratio=0.75)))
custom_hooks = [*_base_.custom_hooks, dict(type="MapBankHook", begin=0.1, interval=0.1, min_images=20_000)]
