"""Checkpoints of small ViTs as our pretraining writes them, for tests of the export."""
import torch
from mmengine.config import Config
from vit_families import SMALL, random_state

from mimtransfer.backbones.vit import TimmViT

PIXELS = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0])
EVA = dict(depth=2, embed_dim=48, num_heads=3)
PLAIN = dict(arch="vit_tiny_patch16_224", img_size=32, patch_size=8, model_kwargs=SMALL)
SIGNED = {"kind": "pretrain", "run_id": "run-7", "label": "MAE + FAMT", "method": "MAE", "strategy": "FAMTMasking",
          "dataset": "ImageFolder train, 45000 images", "epoch": 3, "iter": 2109, "epochs": 3, "iters": 2109, "seed": 7,
          "images_per_s": 200.4, "device": "cpu", "processes": 2, "cost": {"wall_s": 1800.0},
          "init": {"kind": "random"}, "config_fingerprint": "f" * 64}


def checkpoint(folder, name="epoch_3.pth", flat=False, signed=SIGNED, model=None, **options):
    """Write a checkpoint of random weights; return its path and the ViT.

    Args:
        flat: tokens vary so little that the epsilon of the norms is most of what they divide by.
        signed: None for a file that says nothing of its training.
    """
    config = {**PLAIN, **options}
    vit = TimmViT(**config)
    random_state(vit)
    if flat:
        with torch.no_grad():
            for part in (vit.cls_token, vit.pos_embed, vit.patch_embed.proj.weight, vit.patch_embed.proj.bias):
                part.mul_(1e-3)
    model = model or {"type": "MAE", "encoder": {"type": "TimmViT", **config}, "data_preprocessor": PIXELS}
    meta = {"cfg": Config(dict(model=model)).pretty_text}
    if signed:
        meta["mimtransfer"] = {**signed, "arch": config["arch"], "grid": list(vit.grid_size)}
    torch.save({"state_dict": {f"encoder.{key}": value for key, value in vit.state_dict().items()}, "meta": meta},
               folder / name)
    return str(folder / name), vit


def images(height, width, seed=3, channels=3):
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(seed))
