"""Every shipped config of tools/fit_tokenizer.py: it resolves, fits with its data, and names what it needs."""
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from pytest import mark, raises

import pretrain.data  # noqa: F401
from mimtransfer.errors import UserError
from mimtransfer.registry import PATCH_FEATURES, TOKENIZERS, TRANSFORMS

ROOT = Path(__file__).parents[1] / "configs"
LEAVES = sorted(path.name for path in ROOT.glob("tokenizer/*.py"))


@mark.parametrize("leaf", LEAVES)
def test_config(leaf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no weights are
    cfg = Config.fromfile(ROOT / "tokenizer" / leaf)
    init_default_scope("mimtransfer")
    assert f"python tools/fit_tokenizer.py configs/tokenizer/{leaf}" in (ROOT / "tokenizer" / leaf).read_text()
    view = TRANSFORMS.build(cfg.view)
    assert cfg.view.type in ("CenterCrop", "ResizeWhole")
    if "tokenizer" in cfg:
        with raises(UserError, match=r"does not exist.*download"):
            TOKENIZERS.build(cfg.tokenizer)
        return
    kmeans, shown = cfg.kmeans, TRANSFORMS.build(cfg.train_dataloader.dataset.transform)
    assert kmeans.batch_size >= kmeans.num_codes and kmeans.patches_per_code >= 64 and view.size == shown.size
    if cfg.features.type == "PixelFeatures":
        features = PATCH_FEATURES.build(cfg.features)
        assert features(torch.rand(1, 3, *view.size)).shape == (1, 8, 8, 192)
    else:
        with raises(UserError, match=r"does not exist.*(train it|model\.safetensors)"):
            PATCH_FEATURES.build(cfg.features)


def test_published_k_clip():
    cfg = Config.fromfile(ROOT / "tokenizer" / "k-clip_in1k.py")
    assert cfg.kmeans.num_codes == 8192 and cfg.features.arch.startswith("resnet50x64_clip")
    assert cfg.features.input_size == 448 and cfg.view == dict(type="CenterCrop", size=448, ratio=1.0)
