"""The variable `curves` of a suite, and who trains next."""
import os
import signal
import time
from pathlib import Path

import pytest
from suite_toys import checkout

from mimtransfer.errors import UserError
from mimtransfer.interruption import Interrupted, signals_raise
from mimtransfer.suites.curves import evaluations, runs, settings
from mimtransfer.suites.state import Study
from mimtransfer.suites.turns import Turns, run_command

SUITE = """
seeds = [0, 1]
pretrainings = dict(mae=dict(config="configs/mae.py"), mfm=dict(config="configs/mfm.py", seeds=[1], {more}),
                    random=None)
tasks = dict(det=dict(config="configs/det.py"), knn=dict(config="configs/knn.py"))
curves = dict({curves})
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(checkout(tmp_path))

    def study(curves="baseline='mae'", more=""):
        Path("study.py").write_text(SUITE.format(curves=curves, more=more))
        return Study(tmp_path, "study.py")

    return study


def test_runs_and_their_evaluations(study):
    made = study("baseline='mae', images=(10, 20), seconds=[1.5]")
    assert settings(made) == dict(baseline="mae", images=(10, 20), seconds=[1.5], clock="cpu", turn_epochs=1,
                                  title="Time to accuracy")  # fmt: skip
    # The first seed of each, then the second.
    assert [run.name for run in runs(made)] == ["mae-seed0", "mfm-seed1", "mae-seed1"]
    found = evaluations(made, runs(made)[1], "images-10")
    assert list(found) == ["knn"]  # det trains the backbone
    job = found["knn"]
    assert (job.name, job.tool, job.seed) == ("mfm-seed1/marks/knn_images-10", "test", 1)
    assert job.start == "work_dirs/study/mfm-seed1/marks/images-10.pth" and job.after == ()


@pytest.mark.parametrize(
    "curves, more, said",
    [
        ("", "", "has no dict 'curves'"),
        ("baseline='mae', title=3", "", "expected a text"),
        ("baseline='mae', image=[1]", "", "did you mean 'images'"),
        ("baseline='random'", "", "expected one of the pretrainings that are run: mae, mfm"),
        ("images=[1]", "", "the baseline is None"),
        ("baseline='mae', images=3", "", "curves['images'] is 3, expected a list"),
        ("baseline='mae', seconds=[-1]", "", "numbers from 0 on"),
        ("baseline='mae', images=['1']", "", "numbers from 0 on"),
        ("baseline='mae', turn_epochs=0", "", "1 epoch or more"),
        ("baseline='mae', turn_epochs=True", "", "expected an integer"),
        ("baseline='mae', clock='sun'", "", "expected 'cpu' or 'wall'"),
        ("baseline='mae'", "gpus=4", "mfm-seed1 asks for 4 GPUs"),
    ],
)
def test_a_mistake_is_named(study, curves, more, said):
    with pytest.raises(UserError) as error:
        settings(study(curves, more))
    assert said in str(error.value) and "study.py" in str(error.value)


def test_a_pattern_that_matches_no_run_is_refused(study):
    with pytest.raises(UserError, match=r"--only 'vit\*' matches no run; they are mae-seed0"):
        Turns(study(), only=["vit*"])


@pytest.mark.parametrize("config", ["mfm", "knn"])
def test_a_config_that_is_not_there_is_named_before_the_first_turn(study, config):
    made = study()
    Path(f"configs/{config}.py").unlink()
    with pytest.raises(UserError, match=f"config 'configs/{config}.py' does not exist"):
        Turns(made)
    if config == "mfm":
        Turns(made, only=["mae*"])


def test_a_turn_that_leads_nowhere_fails_its_run(study):
    """The toy's tools know no marks: a command that does nothing would be called for ever."""
    lines = []
    turns = Turns(study(), call=lambda *_: 0, only=["mae-seed0"], say=lines.append)
    assert turns.run() == {"mae-seed0": "a turn has left no checkpoint of a further epoch"}
    assert lines[0] == "[mae-seed0] goes on after 0 epochs"


def test_what_nohup_ignores_stays_ignored(study):
    """A study runs for hours; whoever started it has logged out."""
    handlers = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Turns(study(), call=lambda *_: handlers.append(signal.getsignal(signal.SIGHUP)) or 0, only=["mae-seed0"]).run()
    assert signal.signal(signal.SIGHUP, before) is signal.SIG_IGN and handlers == [signal.SIG_IGN]


def test_whoever_is_stopped_stops_its_command(tmp_path):
    output, pid = tmp_path / "output.txt", tmp_path / "pid"
    assert run_command(["sh", "-c", "echo said; exit 3"], output, os.environ, []) == 3
    assert output.read_text() == "said\n"
    begin = time.monotonic()
    with pytest.raises(Interrupted), signals_raise():
        run_command(["sh", "-c", f"echo $$ > {pid}; sleep 0.3; kill {os.getpid()}; sleep 60"], output, os.environ, [])
    assert time.monotonic() - begin < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
