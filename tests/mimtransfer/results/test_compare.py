"""Paired tests against closed forms and a published example, their correction, and the table against scipy."""
import math
import statistics

import pytest
from fabricate_records import pretrain, transfer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mimtransfer.results import render
from mimtransfer.results.compare import holm, mark, paired_test
from mimtransfer.results.record import Run
from mimtransfer.results.table import build_table

SCORES = st.floats(0, 100, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SCORES, SCORES), min_size=2, max_size=3))
def test_closed_forms_of_two_and_three_pairs(pairs):
    """Student's t has simple distributions for 1 and 2 degrees of freedom; the intervals follow from them."""
    first, second = zip(*pairs)
    found = paired_test(dict(enumerate(first)), dict(enumerate(second)))
    differences = [x - y for x, y in pairs]
    mean, std = statistics.fmean(differences), statistics.stdev(differences)
    if std <= 1e-6 * (1 + abs(mean)):  # little but rounding varies
        assert found is None or (found.difference == mean and 0 <= found.p <= 1 and found.low <= mean <= found.high)
        return
    t = abs(mean) / std * math.sqrt(len(pairs))
    p = 1 - 2 / math.pi * math.atan(t) if len(pairs) == 2 else 1 - t / math.sqrt(2 + t * t)
    critical = math.tan(0.475 * math.pi) if len(pairs) == 2 else 0.95 * math.sqrt(2 / (1 - 0.95**2))
    margin = critical * std / math.sqrt(len(pairs))
    assert (found.pairs, found.difference) == (len(pairs), mean)
    assert found.p == pytest.approx(p, abs=1e-7)
    assert (found.low, found.high) == pytest.approx((mean - margin, mean + margin), rel=1e-6, abs=1e-6)


def test_the_sleep_of_student():
    """Hours of sleep gained by two drugs, Student (1908), table I; t = 4.06, P = 0.0028 and the interval as in R."""
    first = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    second = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    found = paired_test(dict(enumerate(first)), dict(enumerate(second)))
    assert found.pairs == 10 and found.difference == pytest.approx(1.58)
    assert found.p == pytest.approx(0.002832890197, rel=1e-8)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)


def test_only_shared_seeds_are_paired():
    found = paired_test({0: 1.0, 1: 3.0, 2: 5.0, 7: 90.0}, {2: 4.5, 1: 2.0, 0: 1.0, 9: -4.0})
    expected = stats.ttest_rel([1, 3, 5], [1, 2, 4.5])
    assert found.pairs == 3 and found.p == pytest.approx(expected.pvalue, abs=1e-12)
    assert paired_test({0: 1.0, 1: 2.0}, {1: 3.0, 2: 4.0}) is None


def test_differences_that_do_not_vary():
    assert paired_test({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}) is None
    assert paired_test({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0}) == (2, 1.0, 0.0, 1.0, 1.0)
    tiny = 5e-324  # the square of it is 0
    assert paired_test({0: tiny, 1: 0.0}, {0: 0.0, 1: 0.0}) in (None, (2, tiny, 0.0, tiny, tiny))


def test_holm():
    # 4 x 0.01, then 3 x 0.015 = 0.045, then 2 x 0.02 = 0.04, which may not fall below the one before, then 0.5
    assert holm([0.02, 0.01, 0.5, 0.015]) == pytest.approx([0.045, 0.04, 0.5, 0.045])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_marks():
    assert [mark(p) for p in (None, 0.05, 0.049, 0.0099)] == ["", "", "*", "**"]


def seeds(name, source, values):
    return [transfer(f"{name}{k}", "detection", source, seed=k, box_ap=value) for k, value in enumerate(values)]


def test_the_table_against_scipy():
    scores = {
        "random init": [27.1, 26.8, 27.4, 27.0],
        "MAE": [31.0, 30.5, 31.6, 31.2],  # far and steady
        "FAMT": [28.2, 26.9, 29.1, 27.2],  # some
        "AMT": [27.3, 26.5, 27.7, 26.9],  # none
    }
    sources = {label: pretrain(label, label=label) for label in scores if label != "random init"}
    records = [record for label in scores for record in seeds(label, sources.get(label), scores[label])]
    table = build_table([Run(record["run_id"], record) for record in [*records, *sources.values()]])
    (column,) = table.columns
    cells = {row.label: row.cells[column] for row in table.rows}
    p = {label: stats.ttest_rel(scores[label], scores["random init"]).pvalue for label in sources}
    assert p["MAE"] < p["FAMT"] < p["AMT"]
    corrected = {"MAE": 3 * p["MAE"], "FAMT": min(1, 2 * p["FAMT"])}
    corrected["AMT"] = max(corrected["FAMT"], p["AMT"])
    for label in sources:
        assert cells[label].std == pytest.approx(stats.tstd(scores[label]), rel=1e-12)
        assert cells[label].test.p == pytest.approx(p[label], abs=1e-10)
        assert cells[label].p == pytest.approx(corrected[label], abs=1e-10)
    text = render.markdown(table)
    assert r"**31.1 " in text and r"(+4.0\*\*, n=4)" in text and "(+0.8, n=4)" in text
    assert "over the 4 seeds that both have, p corrected by Holm for the rows of the column" in text
    assert "$^{*}$$^{*}$" in render.latex(table)
    note = "One pretraining run each: AMT, FAMT, MAE. Their standard deviations are those of the transfer alone."
    assert note in table.notes


def test_several_pretrainings_of_a_transfer_seed_are_one_pair():
    """Two pretrainings, each with the transfer seeds 0 to 2: three pairs of means, not six."""
    first, second = pretrain("a"), pretrain("b", seed=1)
    records = [*seeds("r", None, [1.0, 2, 4]), *seeds("x", first, [3.0, 3, 6.5]), *seeds("y", second, [4.0, 3, 6])]
    table = build_table([Run(record["run_id"], record) for record in [*records, first, second]])
    cell = table.rows[1].cells[table.columns[0]]
    expected = stats.ttest_rel([3.5, 3.0, 6.25], [1.0, 2.0, 4.0])
    assert len(cell.values) == 6 and cell.test.pairs == 3
    assert cell.test.p == pytest.approx(expected.pvalue, abs=1e-12) and not math.isnan(cell.p)
    assert not any("One pretraining" in note for note in table.notes)


def test_an_error_is_best_when_it_is_lowest():
    records = [transfer("a", "robustness", mce=70.0), transfer("b", "robustness", pretrain("p"), mce=60.0)]
    table = build_table([Run(record["run_id"], record) for record in records], ["mce"])
    assert table.best(table.columns[0]) == 60.0
