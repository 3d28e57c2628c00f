"""MAE with attention-driven masking and throwing; else as mae_vit-tiny-p4_10e_cifar10.py, which names the command.

Maps at the published shares: first after 40 of 400 epochs, then every 40 (arXiv 2211.15362); but not before 20,000
images, see docs/masking.md. So after 2 of 10 epochs, then every epoch; in records before December 2026 every second.
"""
_base_ = ["mae_vit-tiny-p4_10e_cifar10.py"]
model = dict(
    strategy=dict(
        type="AMTMasking", mask_ratio=0.45, throw_ratio=0.40, warmup=dict(type="RandomMasking", mask_ratio=0.75)
    )
)
custom_hooks = [*_base_.custom_hooks, dict(type="MapBankHook", begin=0.1, interval=0.1, min_images=20_000)]
