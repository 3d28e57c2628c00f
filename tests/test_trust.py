"""What comes from a file is data: a payload in every kind of file that the tools read runs nothing and gets one line.

Here are checkpoints and codebooks: the names, texts and numbers in them. Pickles are attacked in
tests/mimtransfer/checkpoints/{test_safe_load,test_limits}.py and, through every tool, in
tests/tools/test_hostile_files.py; tables, JSON and names of images in test_trust_stored.py.
"""
import logging
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from payloads import CALL, OPEN, checkpoint, put

import mimtransfer  # noqa: F401  before mmdet and mmseg
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.errors import UserError
from mimtransfer.registry import TOKENIZERS

pytest_plugins = ("payloads",)
pytestmark = pytest.mark.usefixtures("place")

CONFIGS = {  # place in the config: value, what the line must say
    "method": ("model", {**CALL, "encoder": {}}, "names 'subprocess.getoutput'"),
    "method by path": ("model.type", "pretrain.methods.mae.MAE", "which a file may not build"),
    "encoder": ("model.encoder", CALL, "'subprocess.getoutput'"),
    "encoder of builtins": ("model.encoder", OPEN, "'builtins.open'"),
    "encoder of a module": ("model.encoder.type", "evil.TimmViT", "'evil.TimmViT'"),
    "encoder of a scope": ("model.encoder.type", "evilscope.TimmViT", "'evilscope.TimmViT'"),
    "encoder of another library": ("model.encoder.type", "mmdet.ResNet", "'mmdet.ResNet'"),
    "method in a method": ("model.encoder.type", "MAE", "'MAE'"),
    "encoder is no text": ("model.encoder.type", ["TimmViT"], "['TimmViT']"),
    "scope of a part": ("model.encoder._scope_", "evilscope", "'_scope_'"),
    "strategy": ("model.strategy", CALL, "'subprocess.getoutput'"),
    "strategy of a module": ("model.strategy.type", "evil.TimmViT", "'evil.TimmViT'"),
    "warmup": ("model.strategy", dict(type="AMTMasking", warmup=CALL), "'subprocess.getoutput'"),
    "preprocessor": ("model.data_preprocessor", CALL, "'subprocess.getoutput'"),
    "tokenizer": ("model.tokenizer", CALL, "'subprocess.getoutput'"),
    "argument": ("model.encoder.model_kwargs", {"norm_layer": CALL}, "'subprocess.getoutput'"),
    "list of arguments": ("model.encoder.out_indices", [CALL], "'subprocess.getoutput'"),
    "other file": ("model.encoder.model_kwargs.checkpoint_path", "x.pth", "'checkpoint_path'"),
    "download": ("model.encoder.model_kwargs.pretrained_cfg", {"url": "x"}, "'pretrained_cfg'"),
    "hub": ("model.encoder.arch", "hf-hub:evil/model", "'hf-hub:evil/model'"),
    "folder": ("model.encoder.arch", "local-dir:.", "'local-dir:.'"),
    "address": ("model.encoder.pos_embed", "http://evil.example/x", "address"),
    "width": ("model.encoder.model_kwargs.embed_dim", 1 << 40, "1099511627776"),
    "memory": ("model.encoder.model_kwargs.embed_dim", 3 << 12, "weights, more than the file can hold"),
    "depth": ("model.encoder.model_kwargs.depth", 60_000, "expected at most 512"),
    "bytes": ("model.encoder.arch", b"x", "expected plain"),
    "infinite": ("model.encoder.drop_path_rate", 1e999, "inf"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_the_config_of_a_checkpoint_builds_registered_names_only(case, refusal):
    path, value, says = CONFIGS[case]
    checkpoint(change=put(path, value))
    assert says in refusal("visualize", "x.pth", "image.png", "--out", "a.png") and not Path("a.png").exists()


@pytest.mark.parametrize("case", [name for name, (path, *_) in CONFIGS.items() if path.startswith("model.encoder")])
def test_the_encoder_of_a_checkpoint_is_a_plain_vit(case, refusal):
    path, value, _ = CONFIGS[case]
    checkpoint(change=put(path, value))
    assert "x.pth" in refusal("analyze_attention", "x.pth", "image.png", "--out", "attention")
    with pytest.raises(UserError, match="CheckpointFeatures") as error:
        TOKENIZERS.build(codebook(dict(type="CheckpointFeatures", checkpoint="x.pth")))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [
    "model = __import__('os').system('touch witness')", "import evil", "model = dict(type=open('witness', 'w'))",
    "[open('witness', 'w')]", "model = " + "[" * 5000, "model = " + "-" * 50_000 + "1", "model = 1", "x = 1",
    "model = dict(encoder=1, type='MAE')", "model = " + "9" * 5000, "filename = 'x'",
    "model = dict(type='MAE', encoder={})", "a = 1 #" + "x" * (1 << 21), "\0",
])  # fmt: skip
@pytest.mark.parametrize("tool", ["visualize", "analyze_attention"])
def test_texts_that_are_no_config(text, tool, refusal):
    checkpoint(text=text)
    assert "x.pth" in refusal(tool, "x.pth", "image.png", "--out", "a.png")


def test_what_a_config_imports_or_begins_with_is_not_followed(capfd, monkeypatch):
    from mimtransfer.checkpoints.recorded_config import config_in_checkpoint
    from pretrain.from_checkpoint import load_method

    os.mkfifo("pipe")

    def change(cfg):
        cfg["custom_imports"] = dict(imports=["evil"])
        cfg["default_scope"] = "evilscope"
        cfg["model"]["init_cfg"] = cfg["model"]["encoder"]["init_cfg"] = dict(type="Pretrained", checkpoint="pipe")

    method = load_method(config_in_checkpoint(checkpoint(change=change)), "x.pth")
    assert type(method).__name__ == "MAE" and method.encoder.init_cfg is None


@pytest.mark.parametrize("size", ["evil", -3, [32], [32, "x"], None, 1 << 30, dict(a=1)])
def test_the_size_of_the_images_is_a_size(size, refusal):
    checkpoint(change=put("train_dataloader.dataset.transform.size", size))
    assert "transform.size" in refusal("visualize", "x.pth", "image.png", "--out", "a.png")


@pytest.mark.parametrize("pixels", [dict(std=[0, 0, 0]), dict(mean="abc"), dict(mean=[1, 2]), dict(std=[1, 2, 1e999])])
def test_mean_and_std_are_numbers(pixels, refusal):
    checkpoint(change=lambda cfg: cfg["model"]["data_preprocessor"].update(pixels))
    assert "data_preprocessor" in refusal("analyze_attention", "x.pth", "image.png", "--out", "attention")


@pytest.mark.parametrize("state", [[1], "x", {0: torch.ones(1)}, {"encoder.norm.weight": "x"}, None])
def test_weights_that_are_none(state, refusal):
    checkpoint(state_dict=state)
    for tool in ("visualize", "analyze_attention"):
        assert "x.pth" in refusal(tool, "x.pth", "image.png", "--out", "a.png")


def codebook(features=None, **other):
    """Write a codebook; return the config of its tokenizer."""
    content = dict(centroids=torch.rand(4, 48), patches=torch.zeros(4, 4, 4, 3, dtype=torch.uint8),
                   features=features or dict(type="PixelFeatures", patch_size=4), weights_sha256=None)
    content |= other
    torch.save({name: value for name, value in content.items() if value is not ...}, "codebook.pth")
    return dict(type="KMeansTokenizer", codebook="codebook.pth")


def test_a_good_codebook_is_read():
    assert TOKENIZERS.build(codebook()).num_codes == 4


@pytest.mark.parametrize(("change", "says"), [
    (dict(features=CALL), "'subprocess.getoutput'"), (dict(features=OPEN), "'builtins.open'"),
    (dict(features=dict(type="evil.TimmViT")), "'evil.TimmViT'"), (dict(features=dict(type="TimmViT")), "'TimmViT'"),
    (dict(features=dict(type="PixelFeatures", patch_size=CALL)), "'subprocess.getoutput'"),
    (dict(features=dict(type="TimmFeatures", arch="hf-hub:x/y", checkpoint="x")), "'hf-hub:x/y'"),
    (dict(features=dict(type="TimmFeatures", arch="resnet18", checkpoint="http://x/y")), "address"),
    (dict(features=dict(type=["PixelFeatures"])), "features"), (dict(features=["PixelFeatures"]), "features"),
    (dict(features="PixelFeatures"), "features"), (dict(centroids=torch.full((4, 48), float("nan"))), "NaN"),
    (dict(centroids=torch.ones(4)), "[K, D]"), (dict(centroids=[[1.0]]), "[K, D]"),
    (dict(centroids=torch.ones(4, 48).int()), "[K, D]"), (dict(patches=torch.zeros(4)), "patches"),
    (dict(patches=torch.zeros(3, 4, 4, 3, dtype=torch.uint8)), "patches"), (dict(patches=None), "patches"),
    (dict(patches=...), "patches"), (dict(features=...), "features"), (dict(weights_sha256=3), "weights_sha256"),
    (dict(centroids=...), "no centroids"),
])  # fmt: skip
def test_what_is_no_codebook(change, says):
    with pytest.raises(UserError) as error:
        TOKENIZERS.build(codebook(**change))
    assert says in str(error.value) and "codebook.pth" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("about", [
    {"grid": [4, 10**9]}, {"grid": "x"}, {"grid": [CALL, CALL]}, {"x": {1, 2}}, {"x": 1 << 200}, {"x": b"x"},
    {"label": "\ud800"},
])  # fmt: skip
def test_provenance_in_a_checkpoint_is_plain(about):
    state = {"encoder.norm.weight": torch.ones(4)}
    torch.save({"state_dict": state, "meta": {"mimtransfer": about}}, "x.pth")
    with pytest.raises(UserError) as error:
        load_backbone(torch.nn.Linear(2, 2), "x.pth")
    assert "meta['mimtransfer']" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("meta", [None, {}, {"epoch": 1}, {"epoch": "1", "iter": 1}, {"epoch": -1, "iter": 1},
                                  {"epoch": 1.5, "iter": 1}, {"epoch": True, "iter": 1}])
def test_where_a_resumed_run_goes_on_is_a_number(meta):
    from mimtransfer.checkpoints.safe_load import load_from_local

    torch.save({"state_dict": {}, "meta": meta, "message_hub": {}}, "x.pth")
    with pytest.raises(UserError, match="which epoch and iter"):
        load_from_local("x.pth")


def test_a_resumed_run_runs_no_config_of_its_checkpoint(refusal):
    """mmengine executes `meta['config']` in Runner.resume."""
    from mmengine.runner import Runner

    from mimtransfer.checkpoints.safe_load import allow_mmengine_checkpoints

    class Stopped(Exception):
        pass

    allow_mmengine_checkpoints()
    text = "import os\nos.mkdir('witness')\ngpu_ids = [0]\n"
    torch.save({"state_dict": {}, "meta": {"config": text, "epoch": 1, "iter": 1}, "message_hub": {}}, "x.pth")

    def after_the_config(*_):
        raise Stopped

    runner = Runner.__new__(Runner)
    parts = dict(model=torch.nn.Identity(), _train_loop=SimpleNamespace(), logger=logging.getLogger(), _hooks=[])
    runner.__dict__ |= parts
    runner.__dict__["_randomness_cfg"] = SimpleNamespace(get=after_the_config)
    runner.build_train_loop = lambda loop: loop
    with pytest.raises(Stopped):
        Runner.resume(runner, "x.pth", map_location="cpu")
