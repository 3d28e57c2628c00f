"""Learning curves: where they reach an accuracy, which seeds count, what the page and the picture say."""
import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimtransfer.errors import UserError
from mimtransfer.results.curves.page import page
from mimtransfer.results.curves.picture import draw, svg
from mimtransfer.results.curves.points import compared_with, parse, read_points
from mimtransfer.results.curves.reach import Crossing, first_reach, mean_curve, standings, target_of

ROOT = Path(__file__).resolve().parents[3]


def points(contender, seed, scores, second=10.0, marks=("images-100", "images-200", "end")):
    """Marks at 100, 200 and 300 images, `second` seconds apart."""
    return [
        dict(contender=contender, seed=seed, mark=mark, images=100 * n, cpu_s=second * n, wall_s=2 * second * n,
             gflop=5.0 * n, scores={"linear": score})
        for n, (mark, score) in enumerate(zip(marks, scores), 1)
    ]  # fmt: skip


def study(*parts, **changes):
    about = dict(metric="top1", protocol="a probe", fingerprint="f" * 64)
    return dict(schema=1, kind="curves", title="Curves", baseline="mae", clock="cpu", suite="suite.py", device="a CPU",
                labels={"mae": "MAE", "fast": "MAE + fast"}, tasks={"linear": about},
                points=[point for part in parts for point in part], failed={}) | changes  # fmt: skip


TWO = study(points("mae", 0, (10, 30, 50)), points("mae", 1, (20, 40, 46)),
            points("fast", 0, (30, 60, 58), 5), points("fast", 1, (34, 56, 62), 5))  # fmt: skip


@pytest.mark.parametrize(
    "curve, target, expected",
    [
        ([(10, 20.0), (20, 40.0)], 30.0, Crossing(15.0, False)),
        ([(10, 20.0), (20, 40.0)], 40.0, Crossing(20.0, False)),
        ([(10, 20.0), (20, 40.0)], 40.1, None),  # nothing behind the last mark
        ([(10, 20.0), (20, 40.0)], 20.0, Crossing(10, True)),  # nor before the first
        ([(0, 10.0), (10, 50.0), (20, 30.0), (30, 70.0)], 40.0, Crossing(7.5, False)),  # the first time
        ([(10, 20.0), (20, 20.0), (20, 20.0), (40, 40.0)], 25.0, Crossing(25.0, False)),
        ([], 1.0, None),
    ],
)
def test_a_curve_reaches_a_value_between_two_marks(curve, target, expected):
    assert first_reach(curve, target) == expected


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 100)), min_size=1, max_size=8), st.floats(0, 100))
def test_it_is_reached_within_the_marks_or_not_at_all(curve, target):
    curve = sorted(curve)
    found = first_reach(curve, target)
    assert (found is None) == all(y < target for _, y in curve)
    if found is not None:
        assert curve[0][0] <= found.x <= curve[-1][0]


def test_mean_curves_and_what_they_reach():
    curves = parse(TWO, "here")
    assert target_of(curves, "linear") == 48.0
    mean = mean_curve(curves, "fast", "linear", "cpu_s")
    assert [(x, y) for x, y, _ in mean] == [(5, 32), (10, 58), (15, 60)]
    assert mean[0].std == pytest.approx(8**0.5)
    mae, fast = standings(curves, "linear")
    assert mae.reached["images"] == Crossing(300, False) and mae.total["cpu_s"] == 30
    # 32 -> 58 within 5 seconds: 16 of 26.
    assert fast.reached["cpu_s"].x == pytest.approx(5 + 5 * 16 / 26)
    assert fast.by_seed["cpu_s"] == {0: Crossing(5 + 5 * 18 / 30, False), 1: Crossing(5 + 5 * 14 / 22, False)}
    assert fast.p is not None and 0 < fast.share_p < 0.05  # shares .267 and .273 in both seeds


def test_a_seed_counts_when_its_run_has_ended():
    begun = study(points("mae", 0, (10, 30, 50)), points("mae", 1, (90,)), points("fast", 2, (20, 60)))
    curves = parse(begun, "here")
    mae, fast = standings(curves, "linear")
    assert (mae.seeds, mae.ended, fast.seeds, fast.ended) == ([0], True, [2], False)
    assert fast.reached["images"] == Crossing(175.0, False)
    text = page(curves, "curves.svg", "the command")
    assert "- MAE: seeds 1 have not ended and do not count." in text and "| MAE + fast (not ended) | 1 |" in text


def test_what_is_not_reached_is_said_so():
    curves = parse(study(points("mae", 0, (10, 30, 50)), points("fast", 0, (20, 30, 49.9))), "here")
    row = next(line for line in page(curves, "p.svg", "c").splitlines() if line.startswith("| MAE + fast"))
    assert row.count("not reached") == 3 and row.endswith("| 0 of 1 |")


def test_without_a_baseline_nothing_is_compared():
    curves = parse(study(points("fast", 0, (20, 60, 60))), "here")
    assert target_of(curves, "linear") is None
    assert "| MAE + fast | 1 | 60.0 | 0.5 | 1.5e-05 | 0.0003 | - | - | - | - |" in page(curves, "p.svg", "c")
    assert "MAE + fast" in svg(draw(curves)) or svg(draw(curves)).startswith("<?xml")


def test_page_and_picture_are_the_same_each_time():
    curves = parse(TWO, "here")
    first, second = draw(curves), draw(curves)
    assert svg(first) == svg(second) and page(curves, "p", "c") == page(curves, "p", "c")
    chart = first.axes[0]
    assert [line.get_label() for line in chart.get_lines() if line.get_label()[0] != "_"] == ["MAE", "MAE + fast"]
    assert [list(line.get_ydata()) for line in chart.get_lines()][:2] == [[48, 48], [15, 35, 48]]


def test_accuracies_at_the_same_seconds():
    marks = ("seconds-5", "seconds-20", "end")
    curves = parse(study(points("mae", 0, (10, 30, 50), marks=marks), points("mae", 1, (12, 34, 50), marks=marks),
                         points("fast", 0, (20, 40, 60), marks=("seconds-5", "images-7", "end"))), "here")  # fmt: skip
    text = page(curves, "p", "c")
    assert "| after training seconds | 5 | 20 |" in text
    assert "| MAE | 11.0 \u00b1 1.4 | 32.0 \u00b1 2.8 |" in text and "| MAE + fast | 20.0 | - |" in text


def change(path, value):
    changed = copy.deepcopy(TWO)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    "path, value, said",
    [
        (["kind"], "record", "expected 'curves'"),
        (["clock"], "sun", "'cpu' or 'wall'"),
        (["labels"], {"mae": 3}, "more than texts"),
        (["points"], {}, "field 'points' is a dict"),
        (["points", 0], "x", "point 0 is no object"),
        (["points", 0, "contender"], ["mae"], "expected a contender"),
        (["points", 1, "contender"], "other", "point 1"),
        (["points", 0, "seed"], True, "a seed"),
        (["points", 0, "mark"], "end", "two points are ('mae', 0, 'end')"),
        (["points", 0, "cpu_s"], -1, "from 0 on"),
        (["points", 0, "gflop"], None, "from 0 on"),
        (["points", 0, "scores"], {"linear": "high"}, "from 0 on"),
        (["points", 0, "scores"], {"other": 1}, "scores of the tasks"),
        (["tasks"], {"linear": 7}, "has not the texts"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(path, value, said, tmp_path):
    file = tmp_path / "curves.json"
    file.write_text(json.dumps(change(path, value)))
    with pytest.raises(UserError) as error:
        read_points(file)
    assert said in str(error.value) and str(file) in str(error.value) and "\n" not in str(error.value)


def test_another_baseline():
    other = compared_with(parse(TWO, "x"), "fast")
    assert target_of(other, "linear") == 60.0 and compared_with(other, None) is other
    with pytest.raises(UserError, match="--baseline fats: the points are of no such contender; did you mean 'fast'"):
        compared_with(other, "fats")


def test_a_page_is_drawn_of_stored_points_without_torch(tmp_path):
    one = study(points("mae", 0, (10, 30, 48)), points("fast", 0, (30, 60, 58), 5))  # a test of seeds needs scipy: 1 s
    (tmp_path / "points.json").write_text(json.dumps(one))
    code = ("import sys, runpy; sys.argv[1:] = ['points.json', '--baseline', 'fast', '--out', 'out/page']\n"
            f"try: runpy.run_path({str(ROOT / 'tools/time_to_accuracy.py')!r}, run_name='__main__')\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "assert not {'torch', 'mmengine'} & set(sys.modules)\n")  # fmt: skip
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    text = (tmp_path / "out/page.md").read_text()
    assert "58.0 after, min" in text and "points.json --baseline fast --out" in text
    assert (tmp_path / "out/page.svg").exists()
