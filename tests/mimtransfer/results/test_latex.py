"""LaTeX that compiles: read by a strict reader, and by pdflatex where there is one."""
import shutil
import subprocess
from pathlib import Path

import pytest
import strict_tabular
from fabricate_records import pretrain, transfer

from mimtransfer.results import render
from mimtransfer.results.record import Run, read_runs
from mimtransfer.results.rows import PublishedRow
from mimtransfer.results.table import build_table

ROOT = Path(__file__).parents[3]
NASTY = ["[0.5em] a", "*star", "a\nb \\\\ c", '<b>|"q"', "\u00e9\u00df", r"50% & \input{x} $a_b$ #1 ~^ {}", "t\tx",
         "\\", "{", "%"]  # fmt: skip


def table_of(records):
    return build_table([Run(f"{record['run_id']}/result.json", record) for record in records])


def nasty():
    pretrainings = [pretrain(f"p{k}", label=label, config={"k": k}) for k, label in enumerate(NASTY)]
    table = table_of([*pretrainings, *[transfer(f"t{k}", "detection", source, box_ap=1.0 + k, protocol="[x] & 5%\n_y")
                                       for k, source in enumerate(pretrainings)]])  # fmt: skip
    table.published = [PublishedRow("[P] & co_", {table.columns[0]: 3.0}, "A\nB", "https://x.org/a_b%20c", None)]
    return table


def kept(folder):
    return build_table(read_runs(sorted((ROOT / "docs/results/records").glob(folder))))


@pytest.fixture(scope="module")
def tables():
    return {"nasty": nasty(), "cifar": kept("study/cifar10/*.json"), "mfm": kept("mfm/*.json")}


@pytest.mark.parametrize("form", ["latex", "paper"])
def test_is_what_a_strict_reader_takes(tables, form):
    for name, table in tables.items():
        rows = strict_tabular.read(render.FORMATS[form](table, 1))
        body = rows[1 if form == "latex" else 3 :]
        assert len(body) == len(table.rows) + len(table.published), name
    labels = [row[0][1] for row in strict_tabular.read(render.FORMATS[form](tables["nasty"], 1))]
    assert {r"{}[0.5em] a", r"{}*star", r"a b \textbackslash{}\textbackslash{} c", "t x"} <= set(labels)


@pytest.mark.parametrize(("text", "said"), [
    (r"a & {b \\", "not closed"), (r"a & b & c \\", "expected 2"), (r"a & 5% \\", "not printed"),
    (r"[a] & b \\", "argument"), (r"a & b", "without its end"), (r"a_b & c \\", "not printed"),
    (r"\x & b \\", "unknown"), (r"\cmidrule(lr){2-3}", "beyond"),
])  # fmt: skip
def test_the_strict_reader_is_strict(text, said):
    with pytest.raises(ValueError, match=said):
        strict_tabular.read("\\begin{tabular}{lr}\n\\toprule\n" + text + "\n\\bottomrule\n\\end{tabular}\n")


def test_a_paper_has_grouped_columns(tables):
    rows = strict_tabular.read(render.paper(tables["mfm"]))
    assert rows[0] == [(1, ""), (4, "detection"), (2, "segmentation"), (3, "cost of pretraining")]
    assert rows[1] == [(1, ""), (2, "Mask R-CNN ResNet-50, scenes"), (2, "Mask R-CNN, scenes"),
                       (1, "UperNet ResNet-50, scenes"), (1, "UperNet, scenes"), (3, "")]  # fmt: skip
    assert [text for _, text in rows[2]] == ["pretraining", "box AP", "mask AP", "box AP", "mask AP", "mIoU", "mIoU",
                                             "images/s", "device-hours", "peak GB"]  # fmt: skip
    resnet = [text for _, text in rows[4]]
    assert resnet[:6] == ["MFM, resnet50", r"\textbf{4.5 $\pm$ 1.1} (+0.6, n=3)", r"\textbf{1.6 $\pm$ 0.5} (+0.4, n=3)",
                          "--", "--", r"9.8 $\pm$ 0.3 ($-$0.1, n=3)"]  # fmt: skip
    text = render.paper(tables["cifar"])
    assert "$^{**}$" in text and "$$" not in text and "(-" not in text


def test_a_paper_says_once_what_is_the_same_in_all_rows():
    a, b = pretrain("a"), pretrain("b", label="SimMIM", speed=7.0)
    text = render.paper(table_of([a, b, *[transfer(name, "detection", source, box_ap=score) for name, source, score in
                                          (("r", None, 1.0), ("x", a, 4.0), ("y", b, 5.0))]]))  # fmt: skip
    assert "% the same in all rows: pretrain peak GB: 2.0\n" in text
    assert [text for _, text in strict_tabular.read(text)[2]] == ["pretraining", "box AP", "images/s"]


def test_notes_stay_comments_and_foreign_letters_are_named(tables):
    for form in ("latex", "paper"):
        lines = render.FORMATS[form](tables["nasty"], 1).splitlines()
        above = lines[: lines.index(next(line for line in lines if line.startswith("\\begin")))]
        assert all(line.startswith("% ") for line in above) and "% needs booktabs" in above
    greek = table_of([transfer("r", "detection", label="\u0394 pixels", box_ap=1.0)])
    assert "% needs booktabs, and lualatex or xelatex for letters beyond Latin\n" in render.latex(greek)


def test_pdflatex_takes_it(tables, tmp_path):
    """With TeX on this machine, all tables in one document; elsewhere the reader above has said enough."""
    parts = [render.FORMATS[form](table, 1) for table in tables.values() for form in ("latex", "paper")]
    document = ["\\documentclass{article}\\usepackage{booktabs}\\begin{document}", *parts, "\\end{document}\n"]
    (tmp_path / "all.tex").write_text("\n\n".join(document), encoding="utf-8")
    assert document[0].count("booktabs") == 1 and len(parts) == 6
    if shutil.which("pdflatex") and not subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode:
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-2000:]
