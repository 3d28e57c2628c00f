"""Curves of two contenders and two seeds from pictures to the page, by the tools themselves; killed in the midst."""
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from coloured_classes import call, paint_classes
from own_tool import call_tool

from mimtransfer.benchmarks.timing import count_flops
from mimtransfer.benchmarks.training_clock import TrainingClock
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.suites import turns
from pretrain.benchmarks import marks
from pretrain.benchmarks.marks import MarkHook
from pretrain.benchmarks.steps import PretrainSteps, load
from pretrain.hooks.map_bank import measure_maps

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {"blue": (40, 60, 160), "green": (50, 150, 60), "red": (160, 60, 50)}
DEBUG = str(ROOT / "configs/debug/mae_vit-debug_2e_folder.py")
ENCODER = "arch='vit_tiny_patch16_224', patch_size=8, model_kwargs=dict(embed_dim=48, depth=2, num_heads=3)"
FILES = {
    "mae.py": f"""
_base_ = [{DEBUG!r}]
custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook')]
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(root='images/train'))
train_cfg = dict(max_epochs=2)
""",
    "amt.py": """
_base_ = ['mae.py']
model = dict(strategy=dict(_delete_=True, type='AMTMasking', mask_ratio=0.5, throw_ratio=0.25))
custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook'),
                dict(type='MapBankHook', begin=1, interval=1, amp=False)]
""",
    "linear.py": f"""
_base_ = [{str(ROOT / "configs/classification/linear-sweep_vit-tiny-p4_cifar10.py")!r}]
protocol = 'linear, colours'
model = dict(backbone=dict({ENCODER}))
loader = dict(batch_size=24, num_workers=0)
test_cfg = dict(lrs=(0.1, 1.0), weight_decays=(0.0,), epochs=3, warmup_epochs=1, held_out=0.25,
                memory_dataloader=dict(dataset=dict(root='images/train', num_images=24), **loader))
test_dataloader = dict(dataset=dict(root='images/test'), **loader)
""",
    "suite.py": """
seeds = [0, 1]
pretrainings = dict(mae=dict(config='mae.py'), amt=dict(config='amt.py'))
tasks = dict(linear=dict(config='linear.py'))
curves = dict(baseline='mae', images=[10], turn_epochs=1)
""",
}


class Killed(BaseException):
    """What ends a training like SIGKILL: no one catches it."""


class Calls:
    """Run the commands of a study in this process.

    Args:
        fail: part of a work dir; what runs there fails instead.
        kill: part of a work dir; the training that saves its mark `end` there is killed before its checkpoint.
    """

    def __init__(self, fail=None, kill=None):
        self.fail, self.kill, self.made = fail, kill, []

    def __call__(self, words, output, env, locks):
        tool, work_dir = Path(words[1]).stem, words[words.index("--work-dir") + 1]
        self.made.append((tool, Path(work_dir).relative_to("work_dirs").as_posix().partition("/")[2]))
        if self.fail and self.fail in work_dir:
            output.write_text("Traceback ...\nerror: no memory is left\n")
            return 2
        with pytest.MonkeyPatch.context() as patch:
            if self.kill and self.kill in work_dir and tool == "pretrain":
                patch.setattr(MarkHook, "_save", killed_at_the_end(MarkHook._save))
            try:
                call(Path.cwd(), tool, *words[2:])
            except SystemExit as stopped:
                return stopped.code or 0
        return 0


def killed_at_the_end(save):
    def saved(hook, name, *args):
        save(hook, name, *args)
        if name == "end":
            raise Killed

    return saved


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves")
    paint_classes(folder, CLASSES, 60)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def study(folder, calls, *args, suite="suite.py"):
    """Call the tool in the folder; return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(turns, "run_command", calls)
        return call_tool("time_to_accuracy", suite, *args)


def stored(folder, name="suite"):
    return json.loads((folder / f"work_dirs/{name}/curves.json").read_text())


def without_times(curves):
    """Return contender, seed and mark -> what no clock decides."""
    return {(point["contender"], point["seed"], point["mark"]): (point["images"], point["gflop"], point["scores"])
            for point in curves["points"]}


@pytest.fixture(scope="module")
def whole(folder):
    """A study of which one evaluation fails: its calls and status, and the folder."""
    calls = Calls(fail="mae-seed1/marks/linear_end")
    return calls, study(folder, calls), folder


def test_contenders_train_in_turns_and_the_rest_goes_on_where_one_fails(whole):
    calls, status, folder = whole
    first = [("pretrain", "mae-seed0"), ("test", "mae-seed0/marks/linear_images-10"),
             ("pretrain", "amt-seed0"), ("test", "amt-seed0/marks/linear_images-10"),
             ("pretrain", "mae-seed0"), ("test", "mae-seed0/marks/linear_end"),
             ("pretrain", "amt-seed0"), ("test", "amt-seed0/marks/linear_end")]  # fmt: skip
    assert calls.made == [*first, *((tool, name.replace("seed0", "seed1")) for tool, name in first)]
    assert status == 1
    curves = stored(folder)
    assert curves["failed"] == {"mae-seed1/marks/linear_end": "no memory is left"}
    assert len(curves["points"]) == 7


def test_the_next_call_makes_up_what_failed_and_a_third_runs_nothing(whole):
    folder = whole[2]
    again, third = Calls(), Calls()
    assert study(folder, again) == 0 and again.made == [("test", "mae-seed1/marks/linear_end")]
    assert study(folder, third) == 0 and third.made == []
    curves = stored(folder)
    assert curves["failed"] == {} and curves["labels"] == {"mae": "MAE", "amt": "MAE + AMT"}
    found = without_times(curves)
    names = ("images-10", "end")
    assert [*found] == [(name, seed, mark) for seed in (0, 1) for name in ("mae", "amt") for mark in names]
    assert {images for images, _, _ in found.values()} == {12, 48}
    for point in curves["points"]:
        record = json.loads((folder / "work_dirs/suite" / f"{point['contender']}-seed{point['seed']}" / "marks"
                             / f"linear_{point['mark']}" / "result.json").read_text())
        assert point["scores"] == {"linear": record["metrics"]["top1"]["value"]}
        assert record["init"]["path"].endswith(f"marks/{point['mark']}.pth") and record["init"]["missing"] == 0
        assert point["cpu_s"] > 0 and point["wall_s"] > 0  # several threads may take more of the first
    page = (folder / "work_dirs/suite/curves.md").read_text()
    assert "| MAE + AMT | 2 |" in page and "![accuracy against training time" in page
    assert (folder / "work_dirs/suite/curves.svg").read_text().startswith("<?xml")


def test_operations_are_those_of_the_steps_and_of_the_measuring_pass(whole):
    found = without_times(stored(whole[2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(whole[2])
        mae, amt = (PretrainSteps(load(f"{name}.py", [], False), 4, "cpu") for name in ("mae", "amt"))
    images = mae.inputs[:2]
    of_pass = count_flops(lambda: measure_maps(amt.model, images, amp=False)) / 2 * 24
    for name, steps, measured in (("mae", mae, 0), ("amt", amt, of_pass)):
        assert found[name, 0, "images-10"][1] == pytest.approx(3 * steps.flops() / 1e9, rel=1e-9)
        assert found[name, 0, "end"][1] == pytest.approx((12 * steps.flops() + measured) / 1e9, rel=1e-9)


@pytest.mark.parametrize("name", ["mae", "amt"])
def test_a_run_in_turns_ends_as_one_without_marks(whole, name):
    folder = whole[2]
    call(folder, "pretrain", f"{name}.py", "--work-dir", f"plain/{name}", "--seed", 0)
    plain = read_checkpoint(folder / f"plain/{name}/epoch_2.pth")["state_dict"]
    for path in (f"{name}-seed0/epoch_2.pth", f"{name}-seed0/marks/end.pth"):
        state = read_checkpoint(folder / "work_dirs/suite" / path)["state_dict"]
        assert {key for key in plain if key.startswith("encoder.")} <= state.keys()
        assert all(torch.equal(value, plain[key]) for key, value in state.items())


def test_a_killed_study_goes_on_to_the_same_points(whole):
    """In a turn of two epochs it is killed after maps were measured and the last mark was saved: no checkpoint yet."""
    folder = whole[2]
    (folder / "killed.py").write_text(FILES["suite.py"].replace("turn_epochs=1", "turn_epochs=2"))
    args = ("--seeds", 0, "--only", "amt-*")
    with pytest.raises(Killed):
        study(folder, Calls(kill="amt-seed0"), *args, suite="killed.py")
    left = folder / "work_dirs/killed/amt-seed0"
    assert (left / "map_bank/epoch_1.json").exists() and (left / "marks/end.json").exists()
    assert not list(left.glob("epoch_*.pth"))
    assert study(folder, Calls(), *args, suite="killed.py") == 0
    expected = {key: value for key, value in without_times(stored(folder)).items() if key[:2] == ("amt", 0)}
    assert without_times(stored(folder, "killed")) == expected
    assert "the baseline's end after" in (folder / "work_dirs/killed/curves.md").read_text()


def test_options_that_would_take_the_marks_away_are_refused(tmp_path, capsys):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.replace("config='amt.py'", "config='amt.py', options=dict(custom_hooks=[])"))
    assert study(tmp_path, None) == 2
    assert "pretraining of amt-seed0: its option custom_hooks would replace the hook" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"clock": "sun"}, {"turn_epochs": 0}])
def test_marks_that_cannot_be_are_refused(options):
    with pytest.raises(UserError, match="expected 'cpu' or 'wall', and 1 or more"):
        MarkHook(**options)


@pytest.mark.parametrize("cost", [3, {"cpu_s": 1.0}, dict(cpu_s=float("nan"), wall_s=1.0, gflop=1.0, images=1)])
def test_a_checkpoint_with_a_broken_cost_is_refused(cost):
    with pytest.raises(UserError, match="the checkpoint says of its cost"):
        MarkHook().after_load_checkpoint(SimpleNamespace(_resume=True), {"meta": {"marks": cost}})


def test_operations_that_cannot_be_counted_are_not_taken_for_none(monkeypatch):
    """Points of 0 GFLOP would stand left of all others."""
    monkeypatch.setattr(marks, "loss_flops", lambda *args, **kwargs: None)
    batch = dict(inputs=None, record=None)
    runner = SimpleNamespace(epoch=0, message_hub=SimpleNamespace(log_scalars={}),
                             model=SimpleNamespace(data_preprocessor=lambda data, training: batch))
    hook = MarkHook()
    hook._clock, hook._first_epoch, hook._passes = TrainingClock(0), 0, {}
    hook.before_train_epoch(runner)
    with pytest.raises(UserError, match="no memory to count the operations"):
        hook.before_train_iter(runner, 0, batch)


@pytest.mark.parametrize("text", ["{}", "[", '{"passes": {"1": [1, 2]}}', '{"passes": {"-1": [1, 2, 3]}}',
                                  '{"passes": {"1": [1, 2, null]}}'])  # fmt: skip
def test_a_broken_note_of_passes_is_refused_in_one_line(text, tmp_path):
    hook = MarkHook()
    hook._folder = tmp_path
    assert hook._read_passes(0) == {}
    (tmp_path / "passes.json").write_text(text)
    with pytest.raises(UserError, match=r"passes\.json.*remove it"):
        hook._read_passes(0)
    (tmp_path / "passes.json").write_text('{"passes": {"1": [1, 2, 3], "12": [4, 5.5, 6]}}')
    assert hook._read_passes(2) == {"12": [4, 5.5, 6]}
