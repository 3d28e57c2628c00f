"""Numbers printed elsewhere: where they are shown, what is refused, the shipped file."""
import json
import re
from pathlib import Path

import pytest
from fabricate_records import pretrain, transfer
from own_tool import call_tool

from mimtransfer.errors import UserError
from mimtransfer.results import render
from mimtransfer.results.measurement import PRIMARY
from mimtransfer.results.record import Run, write_record
from mimtransfer.results.table import build_table, read_published

ROOT = Path(__file__).parents[3]
SCORE = {"protocol": "small_detection", "metric": "box_ap", "value": 51.6}
ROW = {"label": "MAE, ViT-B", "source": "A & B 2024", "url": "https://example.org/paper", "scores": [SCORE]}


def table(tmp_path, *rows):
    mae = pretrain("mae")
    records = [transfer("r", "detection", box_ap=27.0), transfer("m", "detection", mae, box_ap=31.0, mask_ap=20.0)]
    made = build_table([Run(f"runs/{record['run_id']}/result.json", record) for record in [*records, mae]])
    (tmp_path / "p.json").write_text(json.dumps({"rows": rows}))
    made.published = read_published(tmp_path / "p.json", made.columns)
    return made


def test_rows_apart_with_their_source(tmp_path):
    elsewhere = {**ROW, "label": "another protocol", "scores": [{**SCORE, "protocol": "large_detection"}]}
    made = table(tmp_path, {**ROW, "remark": "longer"}, elsewhere)
    assert [row.label for row in made.published] == ["MAE, ViT-B"]
    lines = render.markdown(made).splitlines()
    assert lines[4].split("|")[1].strip() == "MAE, ViT-B \u20201"
    assert [cell.strip() for cell in lines[4].split("|")[2:4]] == ["51.6", "-"]
    assert "**31.0** (+4.0)" in lines[3]  # ours stays the best, and is compared with ours
    assert "- \u20201: printed in A & B 2024, https://example.org/paper; longer." in lines
    assert lines[-1].startswith("- Published numbers are not measured here")
    tex = render.latex(made)
    assert "\\midrule\nMAE, ViT-B $^{\\dag1}$ & 51.6 & -" in tex
    assert tex.isascii()
    assert render.comma_separated(made).splitlines()[-1].endswith('"A & B 2024, https://example.org/paper"')
    assert json.loads(render.json_text(made))["published"][0]["scores"] == [51.6, None]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**ROW, "source": ""}, "row 1: 'source' is missing; a published number is shown only with its source"),
        ({**ROW, "url": "javascript:alert(1)"}, "expected an address that begins with https://"),
        ({**ROW, "scores": []}, "a score is None, expected protocol, metric and a number"),
        ({**ROW, "scores": [{**SCORE, "value": "51.6"}]}, "a number as value"),
    ],
)
def test_what_is_refused(tmp_path, row, message):
    with pytest.raises(UserError, match=re.escape(message)):
        table(tmp_path, row)


def test_the_shipped_file():
    rows = json.loads((ROOT / "docs/results/published.json").read_text())["rows"]
    configs = "\n".join(path.read_text() for path in (ROOT / "configs").rglob("*.py"))
    for row in rows:
        for score in row["scores"]:
            assert f'protocol = "{score["protocol"]}"' in configs and score["metric"] in PRIMARY
            assert 0 < score["value"] < 100
    assert read_published(ROOT / "docs/results/published.json", []) == []


@pytest.mark.parametrize("form", ["md", "html"])
def test_a_note_of_a_suite_stands_with_the_others(form, tmp_path):
    write_record(transfer("a", "detection", None, box_ap=1.0), tmp_path / "run")
    out = tmp_path / "out"
    assert call_tool("table", tmp_path / "run", "--format", form, "--note", "Too short for a gain.", "--out", out) == 0
    assert "Too short for a gain." in out.read_text(encoding="utf-8")
