"""All methods on CIFAR-10 on a CPU: as cifar10.py with a small ViT/4 (1.2 M parameters, the demo's), so that a
seed is done within an hour or two of two cores.

Command   TIMM_FUSED_ATTN=0 python tools/transfer.py configs/suites/cifar10-cpu.py
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Score     docs/results/study.md

MaPeT's codes are k-means on MAE's features: its row has seen MAE's training, too.
"""
seeds = [0, 1, 2]
_vit = dict(depth=6, embed_dim=128, num_heads=2)
_pretraining = {f"model.encoder.model_kwargs.{key}": value for key, value in _vit.items()}
_transfer = {f"model.backbone.model_kwargs.{key}": value for key, value in _vit.items()}
tokenizers = dict(
    codes=dict(
        config="configs/tokenizer/kmeans-mae_cifar10.py",
        options={"features.checkpoint": "{mae}/epoch_10.pth"},
        seeds=[0],  # one codebook for all seeds: to the table another one is another pretraining
    )
)
pretrainings = {
    name: dict(config=f"configs/pretrain/{name}_vit-tiny-p4_10e_cifar10.py", options=_pretraining, amp=True)
    for name in ("mae", "simmim", "mae_amt", "mae_famt", "mae_semantic", "mfm")
}
pretrainings["mapet"] = dict(
    config="configs/pretrain/mapet_vit-tiny-p4_10e_cifar10.py",
    options={**_pretraining, "model.tokenizer.codebook": "{codes}/codebook.pth"},
    amp=True,
)
pretrainings["random"] = None
_finetuning = {**_transfer, "train_dataloader.dataset.num_images": 5000}
tasks = dict(
    knn=dict(config="configs/classification/knn_vit-tiny-p4_cifar10.py", options=_transfer, amp=True),
    linear=dict(config="configs/classification/linear-sweep_vit-tiny-p4_cifar10.py", options=_transfer, amp=True),
    finetune=dict(
        config="configs/classification/finetune_vit-tiny-p4_5e_cifar10.py",
        options={**_finetuning, "protocol": "fine-tuning, CIFAR-10, 5 epochs of 5000"},
        amp=True,
    ),
    corruptions=dict(
        config="configs/robustness/corruptions_finetune_vit-tiny-p4_5e_cifar10.py",
        options={
            **_finetuning,
            "protocol": "corruptions (500 images), fine-tuning, CIFAR-10, 5 epochs of 5000",
            "test_dataloader.dataset.num_images": 500,
        },
        amp=True,
        of="finetune",
    ),
)
