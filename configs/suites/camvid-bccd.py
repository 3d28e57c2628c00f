"""All methods on real pictures: boxes of blood cells (BCCD) and street scenes (CamVid), ViT-Ti/16, 20 epochs of 572
pictures.

Command   python tools/transfer.py configs/suites/camvid-bccd.py
Data      data/camvid, data/bccd (docs/results/real-pictures.md)
Time      hours on a CPU; not yet run as a whole
Score     two rows, one seed: docs/results/real-pictures.md; else not yet run
"""
seeds = [0, 1, 2]
tokenizers = dict(
    codes=dict(
        config="configs/tokenizer/kmeans-mae_camvid-bccd.py",
        options={"features.checkpoint": "{mae}/epoch_20.pth"},
        seeds=[0],  # one codebook for all seeds: to the table another one is another pretraining
    )
)
pretrainings = {
    name: dict(config=f"configs/pretrain/{name}_vit-tiny_20e_camvid-bccd.py")
    for name in ("mae", "simmim", "mae_amt", "mae_famt", "mae_semantic", "mfm")
}
pretrainings["mapet"] = dict(
    config="configs/pretrain/mapet_vit-tiny_20e_camvid-bccd.py",
    options={"model.tokenizer.codebook": "{codes}/codebook.pth"},
)
pretrainings["random"] = None
tasks = dict(
    bccd=dict(config="configs/detection/faster-rcnn_vit-tiny_bccd-cpu.py"),
    camvid=dict(config="configs/segmentation/upernet_vit-tiny_camvid-cpu.py"),
)
