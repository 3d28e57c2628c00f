"""MAE with frequency and attention (FAMT); else as mae_amt_vit-tiny-p4_10e_cifar10.py."""
_base_ = ["mae_amt_vit-tiny-p4_10e_cifar10.py"]
model = dict(strategy=dict(type="FAMTMasking"))
