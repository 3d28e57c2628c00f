"""ImageNet-1K, the largest square in the middle of each image: what stored ids belong to (MaPeT, arXiv
2306.07346). Its colours are jittered, ids are those of the image as it is.
"""
_base_ = ["in1k.py"]
train_dataloader = dict(
    dataset=dict(transform=dict(_delete_=True, type="CenterCrop", size=224, ratio=1.0, color_jitter=0.4))
)
