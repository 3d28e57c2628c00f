"""What is printed: word for word from fabricated records, as before from kept records, and on the command line."""
import csv
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from fabricate_records import pretrain, transfer

from mimtransfer.results import render
from mimtransfer.results.record import Run, read_runs, write_record
from mimtransfer.results.rows import Cell
from mimtransfer.results.table import build_table, read_published

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "docs/results/records"
MAE = pretrain("mae-0", speed=1234.0)
FAMT = pretrain("famt-0", label="MAE + FAMT", speed=56.78)
ONE_SEED = [
    MAE,
    transfer("r-det", "detection", box_ap=27.14, mask_ap=25.0),
    transfer("r-seg", "segmentation", miou=40.0),
    transfer("m-det", "detection", MAE, box_ap=31.21, mask_ap=24.0),
    transfer("m-seg", "segmentation", MAE, miou=40.04),
    transfer("f-det", "detection", FAMT, box_ap=31.19, mask_ap=26.54),
]


def runs(records):
    return [Run(f"runs/{record['run_id']}/result.json", record) for record in records]


def seeds(name, source, values, metric="box_ap"):
    return [transfer(f"{name}{k}", "detection", source, seed=k, **{metric: value}) for k, value in enumerate(values)]


@pytest.mark.parametrize(("values", "text"), [
    ([0.000312], "0.00031"), ([0.0004, 0.0002], "0.00030 \u00b1 0.00014"),
    ([0.0718], "0.072"), ([1.24], "1.2"), ([1234.5], "1234"), ([0.0], "0.000")])
def test_a_small_cost_is_not_nothing(values, text):
    assert render.cost_text(Cell(values)) == text


def test_markdown():
    det, seg = (record["protocol"]["fingerprint"][:12] for record in ONE_SEED[1:3])
    assert render.markdown(build_table(runs(ONE_SEED))).splitlines() == [
        "| pretraining |          box AP |         mask AP |            mIoU | pretrain images/s "
        "| pretrain device-hours | pretrain peak GB |",
        "| ----------- | --------------: | --------------: | --------------: | ----------------: "
        "| --------------------: | ---------------: |",
        "| random init |            27.1 |            25.0 |        **40.0** |                 - "
        "|                     - |                - |",
        "| MAE         | **31.2** (+4.1) |     24.0 (-1.0) | **40.0** (+0.0) |              1234 "
        "|                 0.017 |              2.0 |",
        "| MAE + FAMT  | **31.2** (+4.1) | **26.5** (+1.5) |               - |              56.8 "
        "|                 0.017 |              2.0 |",
        "",
        "- (+/-): difference of the means to 'random init'.",
        f"- detection: protocol 'small_detection', fingerprint {det}.",
        f"- segmentation: protocol 'small_segmentation', fingerprint {seg}.",
    ]


def test_latex():
    records = [*seeds("r", None, [26.0, 28.0]), transfer("x", "detection", MAE, label="A_b & 50%", box_ap=31.0), MAE]
    det = records[0]["protocol"]["fingerprint"][:12]
    assert render.latex(build_table(runs(records))) == "\n".join(
        [
            "% mean +- standard deviation of the sample over n seeds.",
            "% (+/-): difference of the means to 'random init'.",
            f"% detection: protocol 'small_detection', fingerprint {det}.",
            "% needs booktabs",
            r"\begin{tabular}{lrrrr}",
            r"\toprule",
            r"pretraining & box AP & pretrain images/s & pretrain device-hours & pretrain peak GB \\",
            r"\midrule",
            r"random init & 27.0 $\pm$ 1.4 (n=2) & - & - & - \\",
            r"A\_b \& 50\% & \textbf{31.0} (+4.0) & 1234 & 0.017 & 2.0 \\",
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def test_csv_has_full_precision():
    table = build_table(runs([*seeds("r", None, [26.0, 28.0]), *seeds("m", MAE, [31.21])]))
    rows = list(csv.reader(io.StringIO(render.comma_separated(table))))
    costs = [f"pretrain {name}" for name in ("images/s", "device-hours", "peak GB")]
    assert rows == [
        ["pretraining", *[f"box AP{part}" for part in ("", " std", " n", " difference", " p")]]
        + [f"{cost}{part}" for cost in costs for part in ("", " std", " n")],
        ["random init", "27.0", str(2**0.5), "2", "", "", *["", "", "0"] * 3],
        ["MAE", "31.21", "", "1", str(31.21 - 27.0), "", "1234.0", "", "1", str(60 / 3600), "", "1", "2.0", "", "1"],
    ]


def test_json_names_the_records():
    content = json.loads(render.json_text(build_table(runs(ONE_SEED))))
    assert [column["metric"] for column in content["columns"]] == ["box_ap", "mask_ap", "miou"]
    assert content["columns"][0]["fingerprint"] == ONE_SEED[1]["protocol"]["fingerprint"]
    famt = content["rows"][2]
    assert famt["label"] == "MAE + FAMT" and famt["cells"][2] is None
    assert famt["cells"][0] == {
        "mean": 31.19,
        "std": None,
        "n": 1,
        "difference": pytest.approx(4.05),
        "paired_test": None,
        "values": [31.19],
        "seeds": [0],
        "records": ["runs/f-det/result.json"],
    }
    # No record of this pretraining is here: its checkpoint carried the figure.
    assert famt["costs"]["images_per_s"]["values"] == [56.78]
    assert content["baseline"] == "random init"


@pytest.fixture(scope="module")
def kept():
    """Return the tables of four kept studies; their records are named as from the root, wherever that lies."""

    def table(folder, baseline=None):
        found = read_runs(sorted(KEPT.glob(folder)))
        return build_table([Run(Path(run.path).relative_to(ROOT).as_posix(), run.record) for run in found],
                           baseline=baseline)

    made = {"cifar": table("study/cifar10/*.json", "MAE"), "mfm": table("mfm/*.json"), "demo": table("demo/*/*.json"),
            "bccd": table("study/camvid-bccd/*.json")}
    made["demo"].published = read_published(ROOT / "docs/results/published.json", made["demo"].columns)
    return made


def same(found, expected):
    """Compare, with the last digits of tests free: they depend on how t's distribution is computed."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-9)
    return found == expected


def numbers(text):
    """Return the lines of CSV with numbers as such."""
    return [[float(part) if part.replace(".", "").replace("-", "").replace("e", "").isdigit() else part
             for part in line] for line in csv.reader(io.StringIO(text))]


@pytest.mark.parametrize("name", ["cifar", "mfm", "demo"])
def test_tables_of_kept_records_are_as_they_were(kept, name):
    """The files were printed before scipy and pandas were used."""
    expected = {path.suffix: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob(f"kept/{name}.*")}
    assert render.markdown(kept[name]) == expected[".md"]
    assert render.latex(kept[name]) == expected[".latex"]
    assert same(numbers(render.comma_separated(kept[name])), numbers(expected[".csv"]))
    if ".json" in expected:
        assert same(json.loads(render.json_text(kept[name])), json.loads(expected[".json"]))


def test_tables_in_the_docs_are_those_of_the_kept_records(kept):
    page = (ROOT / "docs/results/study.md").read_text(encoding="utf-8")
    for name in ("cifar", "bccd"):
        assert render.markdown(kept[name]).partition("\n\n")[0] in page


def test_hostile_labels_are_text_in_latex():
    nasty = r"50% & \input{x} $a_b$ #1 ~^ {}"
    text = render.latex(build_table(runs([transfer("x", "detection", MAE, label=nasty, box_ap=31.0), MAE])))
    (line,) = [line for line in text.splitlines() if line.startswith("50")]
    label, score, *_ = line.split(" & ")
    assert label == r"50\% \& \textbackslash{}input\{x\} \$a\_b\$ \#1 \textasciitilde{}\textasciicircum{} \{\}"
    assert score == "31.0"


def table_tool(*arguments, cwd):
    command = [sys.executable, str(ROOT / "tools/table.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)


def test_command_line(tmp_path):
    for record in ONE_SEED:
        write_record(record, tmp_path / "runs" / record["run_id"])
    done = table_tool("runs", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == render.markdown(build_table(runs(ONE_SEED)))
    done = table_tool(
        "runs", "--format", "csv", "--baseline", "MAE", "--metrics", "miou", "--out", "t.csv", cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "t.csv").read_text().splitlines()[1] == f"MAE,40.04,,1,,,1234.0,,1,{60 / 3600},,1,2.0,,1"

    other = transfer("odd", "detection", MAE, config={"lr": 1}, box_ap=1.0)
    write_record(other, tmp_path / "odd")
    done = table_tool("runs", "odd", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert "    optim_wrapper.optimizer.lr: A 0.0001, B '<absent>'\n" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: 2 different protocols are called 'small_detection'")

    (tmp_path / "odd/result.json").write_text('{"schema": 0}')
    done = table_tool("runs", "odd", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: odd/result.json: schema version 0, this mimtransfer reads versions 1 and 2")


@pytest.mark.parametrize(
    ("words", "absent"),
    [("a", "torch mmengine mmcv matplotlib"), ("--help", "torch mmengine mmcv matplotlib pandas scipy numpy jinja2")],
)
def test_what_the_tool_does_not_load(tmp_path, words, absent):
    write_record(transfer("a", "detection", box_ap=1.0), tmp_path / "a")
    code = (
        f"import atexit, runpy, sys; sys.argv = ['table.py', {words!r}]; atexit.register(lambda: print("
        f"[name for name in {absent.split()} if name in sys.modules])); "
        f"runpy.run_path({str(ROOT / 'tools/table.py')!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          env={"PYTHONPATH": str(ROOT)}, check=True)  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
