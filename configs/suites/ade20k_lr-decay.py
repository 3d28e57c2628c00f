"""lr x layer decay of UperNet on ADE20K, ViT-B/16: what decides mIoU, so searched for each initialisation.

Command   python tools/transfer.py configs/suites/ade20k_lr-decay.py --plan; then without, or with --executor slurm
Data      data/ade/ADEChallengeData2016; checkpoints/mae_vit-base.pth, or replace it by your own pretraining
Time      12 runs of 160k iterations on 8 GPUs each; not yet run here
Names     lr in units of 1e-5: ade20k_lr10_decay0.65 is lr 1e-4
Points    MAE in mmseg 1e-4 and 0.65; MAE on long sequences 8e-5 and 0.8; BEiT 7e-4 and 0.65, after fine-tuning
          3e-5 and 0.9
"""
seeds = [0]
pretrainings = dict(mae=dict(checkpoint="checkpoints/mae_vit-base.pth"))
tasks = {
    f"ade20k_lr{_lr * 1e5:g}_decay{_decay}": dict(
        config="configs/segmentation/upernet_vit-base_160k_ade20k-512x512.py",
        options={"optim_wrapper.optimizer.lr": _lr, "optim_wrapper.paramwise_cfg.layer_decay_rate": _decay},
        gpus=8,
    )
    for _lr in (5e-5, 1e-4, 2e-4, 7e-4)
    for _decay in (0.65, 0.8, 0.9)
}
