"""What comes from a file is data: a payload in every kind of file that the tools read runs nothing and gets one line.

Pickles are attacked in tests/mimtransfer/checkpoints/{test_safe_load,test_limits}.py and, through every tool, in
tests/tools/test_hostile_files.py; here are the names, texts, tables and paths in files.
"""
import importlib.util
import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fabricate_records import pretrain as pretrain_
from fabricate_records import transfer
from mmengine.config import Config
from PIL import Image

import mimtransfer  # noqa: F401  before mmdet and mmseg
import pretrain.methods  # noqa: F401
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS, TOKENIZERS

ROOT = Path(__file__).resolve().parents[1]
DEBUG = ROOT / "configs/debug/mae_vit-debug_2e_folder.py"
CALL = dict(type="subprocess.getoutput", cmd="touch witness")
OPEN = dict(type="builtins.open", file="witness", mode="w")
EVIL = "open('witness', 'w')\nclass TimmViT:\n    def __init__(self, **kwargs):\n        open('witness', 'w')\n"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Work in a folder whose modules leave a witness when they are imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Image.new("RGB", (32, 32)).save("image.png")
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "evilscope").mkdir()
    (tmp_path / "evilscope/__init__.py").write_text(EVIL)
    (tmp_path / "evilscope/registry.py").write_text(EVIL)
    yield
    for name in [name for name in sys.modules if name.startswith("evil")]:
        del sys.modules[name]
    assert not (tmp_path / "witness").exists()


@pytest.fixture
def call(monkeypatch, capfd):
    """Run a tool's main() in this process; return the one line that it refuses with."""

    def run(tool, *args):
        spec = importlib.util.spec_from_file_location(tool, ROOT / "tools" / f"{tool}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])  # the tool replaces the first
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [tool, *map(str, args)])
        with pytest.raises(SystemExit) as status:
            module.main()
        error = capfd.readouterr().err
        lines = [line for line in error.splitlines() if line.startswith("error:")]
        assert status.value.code == 2 and len(lines) == 1 and "Traceback" not in error, error
        return lines[0]

    return run


def checkpoint(path="x.pth", change=lambda cfg: None, text=None, **top):
    """Write what mmengine writes of a run, with another config."""
    cfg = Config.fromfile(DEBUG)
    torch.manual_seed(0)
    state = MODELS.build(cfg.model).state_dict()
    values = cfg.to_dict()
    change(values)
    if text is None:
        text = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    torch.save({"meta": {"cfg": text, "epoch": 2}, "state_dict": state, **top}, path)
    return path


def put(place, value):
    """Return a change of a config at a dotted place."""

    def change(cfg):
        *inner, last = place.split(".")
        for key in inner:
            cfg = cfg[key]
        cfg[last] = value

    return change


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
def test_the_config_of_a_checkpoint_builds_registered_names_only(case, call):
    path, value, says = CONFIGS[case]
    checkpoint(change=put(path, value))
    assert says in call("visualize", "x.pth", "image.png", "--out", "a.png") and not Path("a.png").exists()


@pytest.mark.parametrize("case", [name for name, (path, *_) in CONFIGS.items() if path.startswith("model.encoder")])
def test_the_encoder_of_a_checkpoint_is_a_plain_vit(case, call):
    path, value, _ = CONFIGS[case]
    checkpoint(change=put(path, value))
    assert "x.pth" in call("analyze_attention", "x.pth", "image.png", "--out", "attention")
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
def test_texts_that_are_no_config(text, tool, call):
    checkpoint(text=text)
    assert "x.pth" in call(tool, "x.pth", "image.png", "--out", "a.png")


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
def test_the_size_of_the_images_is_a_size(size, call):
    checkpoint(change=put("train_dataloader.dataset.transform.size", size))
    assert "transform.size" in call("visualize", "x.pth", "image.png", "--out", "a.png")


@pytest.mark.parametrize("pixels", [dict(std=[0, 0, 0]), dict(mean="abc"), dict(mean=[1, 2]), dict(std=[1, 2, 1e999])])
def test_mean_and_std_are_numbers(pixels, call):
    checkpoint(change=lambda cfg: cfg["model"]["data_preprocessor"].update(pixels))
    assert "data_preprocessor" in call("analyze_attention", "x.pth", "image.png", "--out", "attention")


@pytest.mark.parametrize("state", [[1], "x", {0: torch.ones(1)}, {"encoder.norm.weight": "x"}, None])
def test_weights_that_are_none(state, call):
    checkpoint(state_dict=state)
    for tool in ("visualize", "analyze_attention"):
        assert "x.pth" in call(tool, "x.pth", "image.png", "--out", "a.png")


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


def stored_ids(**change):
    """Write token ids, with some of the three files changed; return the config of their tokenizer."""
    os.makedirs("ids", exist_ok=True)
    about = dict(num_codes=8, sha256="0", tokenizer={"type": "X"}, view={}, num_images=3, images="0", grid=[2, 2])
    content = dict(ids=np.zeros((3, 2, 2), np.uint16), boxes=np.zeros((3, 4), np.float32), about=json.dumps(about))
    content |= {"about": json.dumps({**about, **change.pop("fields", {})})} | change
    for name in ("ids", "boxes"):
        path = Path("ids", f"{name}.npy")
        if isinstance(content[name], bytes):
            path.write_bytes(content[name])
        else:
            np.save(path, content[name], allow_pickle=True)
    Path("ids/ids.json").write_text(content["about"])
    return dict(type="StoredTokens", path="ids")


class Touch:
    """Pickle as a call that leaves a witness."""

    def __reduce__(self):
        return open, ("witness", "w")


def test_good_ids_are_read():
    assert TOKENIZERS.build(stored_ids()).num_codes == 8


@pytest.mark.parametrize("change", [
    dict(ids=np.array([[[Touch()]]], dtype=object)), dict(boxes=np.array([Touch()] * 4, dtype=object)),
    dict(ids=b"\x93NUMPY\x01\x00v\x00" + b"(" * 118), dict(ids=b""), dict(ids=np.zeros((3, 2), np.uint16)),
    dict(ids=np.zeros((3, 2, 2))), dict(boxes=np.zeros((2, 4), np.float32)), dict(about="{"), dict(about="[" * 100_000),
    dict(about="[]"), dict(about='{"a": "\\ud800"}'), dict(fields=dict(num_codes=10**18)),
    dict(fields=dict(num_codes="8")), dict(fields=dict(view=CALL["cmd"])), dict(fields=dict(images=None)),
    dict(about='{"num_codes": %s}' % ("9" * 5000)),
])  # fmt: skip
def test_what_are_no_ids(change):
    with pytest.raises(UserError) as error:
        TOKENIZERS.build(stored_ids(**change))
    assert "ids/" in str(error.value) and "\n" not in str(error.value)


def test_an_id_beyond_the_codes_is_refused():
    from pretrain.aug_record import AugRecord

    tokens = TOKENIZERS.build(stored_ids(ids=np.full((3, 2, 2), 8, np.uint16)))
    values = dict(index=torch.zeros(1, dtype=torch.int64), box=torch.zeros(1, 4), flip=torch.zeros(1, dtype=torch.bool))
    record = AugRecord(**{name: values.get(name, torch.zeros(1)) for name in AugRecord._fields})
    with pytest.raises(UserError, match="the id 8, expected less than num_codes=8"):
        tokens.encode(torch.zeros(1, 3, 8, 8), record)


@pytest.mark.parametrize(("content", "says"), [
    (np.array([[[Touch()]]], dtype=object), "cannot be read"), (np.zeros((3, 2, 3), np.float16), "[3, 2, 3]"),
    (np.zeros((2, 2, 2), np.float16), "[2, 2, 2]"), (np.zeros((3, 2, 2)), "float64"), (b"\x93NUMPY", "cannot be read"),
    (np.full((3, 2, 2), np.nan, np.float16), "NaN"), (None, "named pipe"),
])  # fmt: skip
def test_what_is_no_map_bank(content, says):
    from pretrain.masking.bank import MapBank

    if content is None:
        os.mkfifo("bank.npy")
    elif isinstance(content, bytes):
        Path("bank.npy").write_bytes(content)
    else:
        np.save("bank.npy", content, allow_pickle=True)
    with pytest.raises(UserError) as error:
        MapBank.open("bank.npy", 3, (2, 2)).check_finite()
    assert says in str(error.value) and "bank.npy" in str(error.value) and "\n" not in str(error.value)


RECORDS = ["", "{", "[]", "3", "null", "[" * 100_000, '{"schema": 2, "a": ' + "[" * 200 + "]" * 200 + "}",
           '{"schema": %s}' % ("9" * 5000), '{"schema": 1e999}', '{"schema": "\\ud800"}', '{"schema": 2}', "\x00" * 100]


@pytest.mark.parametrize("text", RECORDS)
def test_what_is_no_record(text, call):
    Path("run").mkdir()
    Path("run/result.json").write_text(text)
    assert "result.json" in call("table", "run")


@pytest.mark.parametrize("field", ["seed", "cost.images_per_s", "metrics.box_ap.value", "schedule.iters"])
def test_huge_integers_in_a_record(field, call):
    record = transfer("det", "detection", pretrain_record(), box_ap=30.0)
    put(field, 10**400)(record)
    Path("run").mkdir()
    Path("run/result.json").write_text(json.dumps(record))
    assert "an integer of 401 digits" in call("table", "run")


def pretrain_record():
    return pretrain_("mae")


def test_pipes_instead_of_records(call):
    Path("run").mkdir()
    os.mkfifo("run/result.json")
    assert "named pipe" in call("table", "run")
    Path("run/result.json").unlink()
    Path("run/result.json").symlink_to("/dev/zero")
    assert "device" in call("table", "run")


def test_a_record_runs_no_config():
    from mimtransfer.results.record import write_record
    from mimtransfer.results.verify import report, verify

    record = pretrain_record()
    Path("evil_config.py").write_text("open('witness', 'w')\n")
    record["files"] = {"checkpoint": None, "config": {"path": "../evil_config.py", "sha256": "0" * 64}, "log": None}
    write_record(record, "run")
    assert "cannot be read as a config any more" in report(verify(["run"])[0])


def study_here():
    """A suite whose jobs work in this folder."""
    from mimtransfer.suites.state import Study

    study = Study.__new__(Study)
    study.suite = SimpleNamespace(folder=lambda name: Path())
    return study


@pytest.mark.parametrize("text", [*RECORDS, '{"parts": [], "fingerprint": "x"}', '{"parts": {"run": [1]}}'])
def test_what_is_no_state_of_a_job(text):
    Path("job.json").write_text(text)
    Path("cell.json").write_text(text)
    assert study_here()._begun(SimpleNamespace(name="a")) is None


def test_the_failure_of_a_job_is_one_line():
    Path("job.json").write_text(json.dumps({"parts": {}, "fingerprint": "", "failed": "a\n\x1b[2J\nb" * 1000}))
    failed = study_here()._begun(SimpleNamespace(name="a"))["failed"]
    assert "\n" not in failed and len(failed) == 300


JOBS = [*RECORDS[:10], '{"a": "1; touch witness"}', '{"a": "--help"}', '{"a": 3}', '{"a": null}']


@pytest.mark.parametrize("text", JOBS)
def test_what_are_no_jobs(text):
    from mimtransfer.suites.slurm import _queued_ids

    Path("jobs.json").write_text(text)
    with pytest.raises(UserError, match=r"jobs\.json") as error:
        _queued_ids(Path())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [*RECORDS, '{"layout": 1, "entries": []}', '{"layout": 1, "entries": {"a": 3}}',
                                  '{"layout": 1, "entries": {"a": {"value": 1, "files": 3}}}'])
def test_a_broken_cache_is_empty(text):
    from mimtransfer.suites.inputs import StatCache

    Path("cache.json").write_text(text)
    assert StatCache("cache.json").get("a", lambda: (5, [])) == 5


def test_lines_of_a_log_that_are_none():
    from mimtransfer.results.measurement import read_curves

    Path("run/1/vis_data").mkdir(parents=True)
    lines = [*(text for text in RECORDS if "\x00" not in text), '{"iter": "x", "loss": 1}', '{"iter": 1, "loss": "x"}',
             '{"iter": [], "step": {}}', '{"iter": 2, "loss": 0.5, "step": 2}']
    Path("run/1/vis_data/scalars.json").write_text("\n".join(lines))
    assert read_curves("run", {"epochs": None, "iters": 4}) == {"loss": [[2, 0.5]]}
    Path("run/2/vis_data").mkdir(parents=True)
    os.mkfifo("run/2/vis_data/scalars.json")
    assert read_curves("run", {"epochs": None, "iters": 4}) == {"loss": [[2, 0.5]]}


def coco_config():
    dataset = dict(type="CocoDataset", data_root=".", ann_file="coco.json", data_prefix=dict(img=""),
                   metainfo=dict(classes=("cell",)))
    return Config(dict(task="detection", train_dataloader=dict(dataset=dataset), model=dict()))


def coco(**change):
    image = dict(id=1, file_name="image.png", width=32, height=32)
    box = dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 9, 9], area=81, iscrowd=0)
    return json.dumps(dict(images=[image], annotations=[box], categories=[dict(id=1, name="cell")]) | change)


NAMES = ["$(touch witness).png", "; touch witness;.png", "`touch witness`.png", "a\nerror: b.png", "-rf.png",
         "%n{0}.png", "\x1b[2J.png"]


@pytest.mark.parametrize("text", [
    coco(images=[dict(id=1, file_name=name)]) for name in NAMES] + [
    coco(images=[dict(id=1, file_name=CALL)]), coco(images=[dict(id=1, file_name=None)]),
    coco(images=[dict(id=1, file_name="a\0b")]), coco(images=[dict(id=1)]), coco(images=3), coco(images=["x"]),
    coco(categories=[dict(id=1, name=["cell"])]), coco(categories=[dict(id=1)]), coco(categories={"cell": 1}),
    coco(annotations=[3]), coco(annotations={"type": "os.system"}), *RECORDS[:7], RECORDS[-1],
])  # fmt: skip
def test_what_is_no_coco_json(text):
    from mimtransfer.checks.data import check_data

    Path("coco.json").write_text(text)
    with pytest.raises(UserError, match=r"coco\.json") as error:
        check_data(coco_config(), splits=("train",))
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_a_good_coco_json_passes():
    from mimtransfer.checks.data import check_data

    Path("coco.json").write_text(coco())
    check_data(coco_config(), splits=("train",))


def test_names_of_images_are_names(monkeypatch, capfd):
    import runpy

    for name in NAMES:
        Image.new("RGB", (40, 32)).save(Path(name.replace("/", "")), "PNG")
    monkeypatch.setattr(sys, "argv", ["visualize", checkpoint(), ".", "--out", "$(touch witness).png"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(str(ROOT / "tools/visualize.py"), run_name="__main__")
    assert Path("$(touch witness).png").stat().st_size > 1000 and "written" in capfd.readouterr().out


@pytest.mark.parametrize("meta", [None, {}, {"epoch": 1}, {"epoch": "1", "iter": 1}, {"epoch": -1, "iter": 1},
                                  {"epoch": 1.5, "iter": 1}, {"epoch": True, "iter": 1}])
def test_where_a_resumed_run_goes_on_is_a_number(meta):
    from mimtransfer.checkpoints.safe_load import load_from_local

    torch.save({"state_dict": {}, "meta": meta, "message_hub": {}}, "x.pth")
    with pytest.raises(UserError, match="which epoch and iter"):
        load_from_local("x.pth")


def test_a_resumed_run_runs_no_config_of_its_checkpoint(call):
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
