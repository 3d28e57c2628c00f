"""The line of an epoch, the bar, the box at the end."""
import io
import re
import sys
from pathlib import Path

import pytest
from mmengine.runner import BaseLoop
from toy_runner import toy_runner

from mimtransfer.cli.clean_exit import clean_exit
from mimtransfer.errors import UserError
from mimtransfer.results.closing import closing_box, duration, scores_in_words, significant
from mimtransfer.results.progress import ProgressHook


class Terminal(io.StringIO):
    """What `sys.stderr` is on a terminal."""

    def isatty(self):
        return True


class Validation(BaseLoop):
    """One that the test runs itself."""

    def run(self):
        """Never called."""


def train(tmp_path, **options):
    runner = toy_runner(tmp_path, **options)
    runner.register_hook(ProgressHook())
    runner.train()
    log = next(Path(tmp_path).glob("*/*.log")).read_text()
    return runner, re.findall(r"INFO - Done: (.*)", log)


def test_each_epoch_has_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := io.StringIO())
    runner, lines = train(tmp_path)
    assert [line.split(":")[0] for line in lines] == ["epoch 1 of 3", "epoch 2 of 3", "epoch 3 of 3"]
    losses = runner.message_hub.log_scalars["train/loss"].data[0]
    assert [re.search(r"mean loss ([0-9.]+)", line).group(1) for line in lines] == [
        f"{losses[k : k + 4].mean():.4f}" for k in (0, 4, 8)]
    assert ["left" in line for line in lines] == [True, True, False]
    assert all(re.search(r"[0-9.e+]+ images/s, [0-9]+ s", line) for line in lines)
    assert screen.getvalue() == ""  # no terminal, no bar


def test_a_run_by_iterations_has_a_line_at_its_end(tmp_path):
    _, lines = train(tmp_path, by_epoch=False)
    assert [line.split(",")[0] for line in lines] == [
        f"iteration 12 of 12: mean loss {lines[0].split('mean loss ')[1].split(',')[0]}"]


def test_the_bar_is_drawn_on_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    runner, lines = train(tmp_path)
    assert "training: 100%" in screen.getvalue() and "12/12" in screen.getvalue() and len(lines) == 3
    assert not any("Tqdm" in type(handler).__name__ for handler in runner.logger.handlers)


def test_an_error_begins_a_line_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    runner = toy_runner(tmp_path)
    hook = ProgressHook()
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    with pytest.raises(SystemExit), clean_exit():
        hook.before_train(runner)
        raise UserError("the disk is full")
    assert screen.getvalue().splitlines()[-1] == "error: the disk is full" and "training:   0%" in screen.getvalue()
    hook.after_train(runner)  # puts the handlers of the logger back


def test_the_line_has_the_score_of_a_validation(tmp_path):
    """Driven by hand: a validation between two parts of a run by iterations, then none."""
    runner = toy_runner(tmp_path, by_epoch=False)
    hook, said = ProgressHook(), []
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.logger.info = said.append
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    for iteration in range(1, 13):
        hook.after_train_iter(runner, iteration - 1)
        runner._train_loop._iter = iteration
        if iteration == 5:
            runner._val_loop = Validation(runner, runner.train_dataloader)
            hook.before_val(runner)
            hook.after_val_iter(runner, 0)
            hook.after_val_epoch(runner, {"coco/bbox_mAP": 0.068, "coco/bbox_mAP_50": 0.1})
    hook.after_train_epoch(runner)
    hook.after_train(runner)
    assert [re.sub(r" [0-9.e+]+ (images/s|s)", r" \1", line) for line in said] == [
        "Done: iteration 5 of 12: box AP 6.8, images/s, s, about s left",
        "Done: iteration 12 of 12: images/s, s"]


RECORD = dict(
    label="MAE", seed=3, protocol=dict(name="Mask R-CNN, scenes"),
    metrics=dict(box_ap=dict(value=6.83, unit="points"), box_ap50=dict(value=12.0, unit="points"),
                 mask_ap=dict(value=3.7, unit="points")),
    cost=dict(wall_s=7200.0, processes=2, device="H200", device_type="cuda", images_per_s=412.3,
              peak_memory_bytes=11_200_000_000),
    files=dict(checkpoint=dict(path="iter_9.pth", sha256=""), config=None, log="a/a.log"),
)


def test_the_box_says_score_cost_and_files():
    assert closing_box(RECORD, "runs/det", curves=True).splitlines() == [
        "+-- MAE: Mask R-CNN, scenes, seed 3 ------------------------------------",
        "| score      box AP 6.8, mask AP 3.7",
        "| cost       2 h 0 min on 2 x H200 (4 GPU-hours), 412 images/s, peak 11 GB",
        "| checkpoint runs/det/iter_9.pth",
        "| log        runs/det/a/a.log",
        "| curves     tensorboard --logdir runs/det",
        "+-----------------------------------------------------------------------"]


def test_the_box_names_images_that_cannot_be_read():
    lines = closing_box(RECORD, "runs/det", unreadable=[f"bad/{k}.jpg" for k in range(5)]).splitlines()
    assert lines[-2] == ("| unreadable 5 images, others took their place: bad/0.jpg, bad/1.jpg, bad/2.jpg ... "
                         "(5 in all)")
    assert "| unreadable 1 image, another took its place: a.jpg" in closing_box(
        RECORD, "runs/det", unreadable=["a.jpg"])


def test_large_costs_are_no_powers_of_ten():
    cost = RECORD["cost"] | dict(wall_s=360_000.0, processes=64, peak_memory_bytes=136_400_000_000)
    assert closing_box(RECORD | dict(cost=cost), "runs/det").splitlines()[2] == (
        "| cost       4 d 4 h on 64 x H200 (6400 GPU-hours), 412 images/s, peak 136 GB")


def test_the_box_of_a_run_without_score_cost_and_files():
    unknown = dict(wall_s=None, processes=1, device=None, device_type=None, images_per_s=None, peak_memory_bytes=None)
    record = RECORD | dict(seed=None, metrics={}, cost=unknown, files=dict(checkpoint=None, config=None, log=None))
    elsewhere = closing_box(RECORD | dict(cost=RECORD["cost"] | dict(device=None)), "runs/det")
    assert elsewhere.splitlines()[2] == "| cost       2 h 0 min (4 GPU-hours), 412 images/s, peak 11 GB"
    assert closing_box(record, "runs/det").splitlines()[1:-1] == ["| score      none: not evaluated"]


def test_the_box_of_a_test_says_whose_cost_it_is():
    assert closing_box(RECORD, "runs/det", of_training=True).splitlines()[2] == (
        "| cost       training: 2 h 0 min on 2 x H200 (4 GPU-hours), 412 images/s, peak 11 GB")


def test_scores_that_are_no_main_ones():
    assert scores_in_words(dict(loss=dict(value=0.41234, unit="loss"))) == ["loss 0.4123"]


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "0 s"), (89.4, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (200000, "2 d 7 h")])
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [
    (0.01234, "0.0123"), (4.0, "4"), (99.96, "100"), (999.6, "1000"), (12345.6, "12346")])
def test_three_digits_without_exponent(value, text):
    assert significant(value) == text
