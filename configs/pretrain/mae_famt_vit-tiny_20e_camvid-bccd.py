"""MAE with frequency and attention (FAMT) on CamVid and BCCD; else as mae_amt_vit-tiny_20e_camvid-bccd.py."""
_base_ = ["mae_amt_vit-tiny_20e_camvid-bccd.py"]
model = dict(strategy=dict(type="FAMTMasking"))
