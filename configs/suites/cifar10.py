"""All methods on CIFAR-10: k-NN, linear probe, fine-tuning and corruptions of a ViT-Ti/4, 10 epochs of 10,000 images.

Command   python tools/transfer.py configs/suites/cifar10.py
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Time      hours on a CPU; not yet run as a whole
Score     k-NN of five rows: docs/results/masking-cifar10.md; else not yet run

MaPeT's codes are k-means on MAE's features: its row has seen MAE's training, too.
"""
seeds = [0, 1, 2]
tokenizers = dict(
    codes=dict(
        config="configs/tokenizer/kmeans-mae_cifar10.py",
        options={"features.checkpoint": "{mae}/epoch_10.pth"},
        seeds=[0],  # one codebook for all seeds: to the table another one is another pretraining
    )
)
pretrainings = {
    name: dict(config=f"configs/pretrain/{name}_vit-tiny-p4_10e_cifar10.py", amp=True)
    for name in ("mae", "simmim", "mae_amt", "mae_famt", "mae_semantic", "mfm")
}
pretrainings["mapet"] = dict(
    config="configs/pretrain/mapet_vit-tiny-p4_10e_cifar10.py",
    options={"model.tokenizer.codebook": "{codes}/codebook.pth"},
    amp=True,
)
pretrainings["random"] = None
tasks = dict(
    knn=dict(config="configs/classification/knn_vit-tiny-p4_cifar10.py", amp=True),
    linear=dict(config="configs/classification/linear-sweep_vit-tiny-p4_cifar10.py", amp=True),
    finetune=dict(config="configs/classification/finetune_vit-tiny-p4_5e_cifar10.py", amp=True),
    corruptions=dict(config="configs/robustness/corruptions_finetune_vit-tiny-p4_5e_cifar10.py", of="finetune"),
)
