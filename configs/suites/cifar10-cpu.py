"""All methods on CIFAR-10 on a CPU: as cifar10.py with a small ViT/4 (1.2 M parameters, the demo's), so that a
seed is done within an hour or two of two cores.

Command   TIMM_FUSED_ATTN=0 python tools/transfer.py configs/suites/cifar10-cpu.py
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Score     docs/results/study.md

MaPeT's codes are k-means on MAE's features: its row has seen MAE's training, too.
"""
_base_ = "./cifar10.py"
_vit = dict(depth=6, embed_dim=128, num_heads=2)
_pretraining = {f"model.encoder.model_kwargs.{key}": value for key, value in _vit.items()}
_transfer = {f"model.backbone.model_kwargs.{key}": value for key, value in _vit.items()}
pretrainings = {name: dict(options=_pretraining) for name in _base_.pretrainings if name != "random"}
_finetuning = {**_transfer, "train_dataloader.dataset.num_images": 5000}
tasks = dict(
    knn=dict(options=_transfer),
    linear=dict(options=_transfer),
    finetune=dict(options={**_finetuning, "protocol": "fine-tuning, CIFAR-10, 5 epochs of 5000"}),
    corruptions=dict(
        options={
            **_finetuning,
            "protocol": "corruptions (500 images), fine-tuning, CIFAR-10, 5 epochs of 5000",
            "test_dataloader.dataset.num_images": 500,
        },
        amp=True,
    ),
)
