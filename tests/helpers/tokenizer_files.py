"""Files of tokenizers with random weights, where a shipped config expects those of a fit or of a download."""
import json
from pathlib import Path

import numpy as np
import torch
from shipped_configs import load

from mimtransfer.registry import MODELS, PATCH_FEATURES

DALLE = Path(__file__).resolve().parents[1] / "pretrain/tokenizers/fixtures/dvae_official.json"


def write_codebook(path):
    """Write what tools/fit_tokenizer.py writes for the config that the path names, and the checkpoint it reads."""
    fit = load(f"tokenizer/{path.parts[1]}.py")
    if fit.features.type == "CheckpointFeatures":
        checkpoint = Path(fit.features.checkpoint)
        source = load(f"pretrain/{checkpoint.parts[1]}.py")
        state = {f"encoder.{name}": value for name, value in MODELS.build(source.model.encoder).state_dict().items()}
        checkpoint.parent.mkdir(parents=True)
        torch.save({"state_dict": state, "meta": {"cfg": source.pretty_text}}, checkpoint)
    features = PATCH_FEATURES.build(fit.features)
    size = fit.train_dataloader.dataset.transform.size
    with torch.no_grad():
        dim = features(torch.rand(1, 3, size, size)).shape[-1]
    centroids = torch.randn(fit.kmeans.num_codes, dim)
    patches = torch.zeros(len(centroids), 4, 4, 3, dtype=torch.uint8)
    torch.save(dict(centroids=centroids, patches=patches, features=fit.features.to_dict(),
                    weights_sha256=features.sha256), path)


def write_tokenizer(tokenizer, num_codes, grid, narrower=1):
    """Write the file of a tokenizer where its config has it: random numbers of the real sizes.

    Args:
        narrower: the channels of DALL-E's convolutions are divided by it.
    """
    path = Path(tokenizer.get("codebook") or tokenizer.get("path") or tokenizer.checkpoint)
    path.parent.mkdir(parents=True)
    if tokenizer.type == "KMeansTokenizer":
        write_codebook(path)
    elif tokenizer.type == "StoredTokens":
        path.mkdir()
        np.save(path / "ids.npy", np.random.RandomState(0).randint(0, num_codes, (1, *grid)).astype(np.uint16))
        np.save(path / "boxes.npy", np.array([[0, 0, 1, 1]], np.float32))
        about = dict(num_codes=num_codes, sha256="0" * 64, tokenizer={}, view={}, images="0" * 64)
        (path / "ids.json").write_text(json.dumps(about))
    else:
        shapes = json.loads(DALLE.read_text())["published"]["encoder"].items()
        narrow = {name: [n // narrower if n >= 64 else n for n in shape] for name, shape in shapes}
        torch.save({name: torch.randn(shape) / shape[-1] for name, shape in narrow.items()}, path)
