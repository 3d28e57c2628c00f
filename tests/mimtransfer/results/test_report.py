"""The HTML report, read by a parser: whole, closed in itself, every number with its record."""
import base64
import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fabricate_records import init_from, pretrain, transfer
from PIL import Image

from mimtransfer.results.record import Run, read_runs, write_record
from mimtransfer.results.report.charts import Charts, Dot, Line
from mimtransfer.results.report.colours import COLOURS, colour_of, slots_of
from mimtransfer.results.report.page import html_page
from mimtransfer.results.report.pictures import pictures_of
from mimtransfer.results.table import build_table, read_published

VOID = {"meta", "img", "br"}
LABEL = 'MAE <b>"x" & y</b>'


class Page(HTMLParser):
    """Checks that tags are closed in order; keeps attributes, text and the words of each table cell."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.rows = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data + " "

    def values(self, name):
        return [attributes[name] for _, attributes in self.tags if attributes.get(name)]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    mae = pretrain("mae", label=LABEL)
    mae["curves"] = {"loss": [[1, 2.0], [50, 1.0], [100, 0.5]]}
    records = [transfer(f"r{k}", "detection", seed=k, box_ap=20.0 + k, miou=1.0) for k in range(3)]
    records += [transfer(f"m{k}", "detection", mae, seed=k, box_ap=30.0 + 1.1 * k) for k in range(3)]
    records[0]["curves"] = {"loss": [[1, 3.0], [2, 2.5]], "box_ap": [[2, 20.0]]}
    records[0]["files"] = {"checkpoint": {"path": "a b.pth", "sha256": "c" * 64}, "config": None, "log": "t/t.log"}
    for record in [*records, mae]:
        write_record(record, folder / record["run_id"])
    (folder / "r0/t").mkdir()
    (folder / "r0/t/t.log").write_text("log")
    (folder / "r0/a b.pth").write_text("weights")
    pictures = folder / "mae/t/vis_data/vis_image"
    pictures.mkdir(parents=True)
    for name, colour in {"reconstruction_9": "red", "reconstruction_10": "green", "attention_10": "blue"}.items():
        Image.new("RGB", (40, 20), colour).save(pictures / f"{name}.png")
    published = {"label": "<i>", "source": "A & B", "url": "https://example.org", "scores": [
        {"protocol": "small_detection", "metric": "box_ap", "value": 51.64}]}
    (folder / "p.json").write_text(json.dumps({"rows": [published]}))
    table = build_table(read_runs([folder]))
    table.published = read_published(folder / "p.json", table.columns)
    return table, folder, html_page(table, 1, "Study <1>", folder)


def test_numbers(study):
    rows = [[" ".join(cell.split()) for cell in row] for row in Page(study[2]).rows]
    assert rows[:2] == [["", "detection", "cost of pretraining"], ["", "small_detection", ""]]
    assert rows[2] == ["pretraining", "box AP", "mIoU", "images/s", "device-hours", "peak GB"]
    assert rows[3] == ["random init", "21.0 \u00b1 1.0 seeds 0 1 2", "1.0 \u00b1 0.0 seeds 0 1 2", "-", "-", "-"]
    assert rows[4] == [LABEL, "31.1 \u00b1 1.1 +10.1** seeds 0 1 2", "-", "1234 seed 0", "0.017 seed 0", "2.0 seed 0"]
    assert rows[-1] == ["<i> \u20201 A & B", "51.6", "-", "-", "-", "-"]
    best = re.findall(r'<td class="best first">.*?</td>', study[2], re.DOTALL)
    assert len(best) == 1 and ">31.1 " in best[0] and "p = 3.27e-05" in best[0]


def test_every_link_arrives(study):
    table, folder, text = study
    page = Page(text)
    names = page.values("id")
    assert len(names) == len(set(names))
    links = page.values("href")
    assert {link[1:] for link in links if link.startswith("#")} <= set(names)
    files = [link for link in links if not link.startswith(("#", "https://example.org"))]
    assert "r0/t/t.log" in files and "r0/a%20b.pth" in files and "mae/result.json" in files
    assert all((folder / link.replace("%20", " ")).is_file() for link in files)
    records = [attributes["id"] for tag, attributes in page.tags if attributes.get("class") == "record"]
    assert len(records) == len(table.runs) == 7
    for name in records:
        assert text.count(f'href="#{name}"') >= 1


def test_needs_no_network_and_runs_nothing_foreign(study):
    page = Page(study[2])
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "object", "base")]
    assert all(source.startswith("data:image/") for source in page.values("src"))
    assert "url(" not in study[2] and "@import" not in study[2]
    assert page.values("content")[-1].startswith("default-src 'none'")
    assert "<b>\"x\"" not in study[2] and page.words.count(LABEL) >= 3  # as text, not as tags


def test_provenance_is_in_the_record(study):
    words = " ".join(Page(study[2]).words)
    for text in ("0" * 40, "c" * 64, "f" * 64, "python tools/train.py x.py", "python 3.11.9", "150 tensors matched",
                 study[0].columns[0].fingerprint, "optim_wrapper.optimizer.lr = 0.0001"):
        assert text in words, text


def test_records_go_by_the_names_and_the_order_of_the_rows(tmp_path):
    """Two pretrainings of one label have their architecture behind it, in the table as in the list of records."""
    runs = []
    for arch in ("vit_b", "resnet50"):
        source = pretrain(f"p-{arch}", label="MFM", config={"arch": arch})
        runs += [source, transfer(f"t-{arch}", "detection", source, box_ap=7.0, protocol=f"on {arch}")]
        source["backbone"]["arch"] = runs[-1]["backbone"]["arch"] = arch
    table = build_table([Run(f"{run['run_id']}/result.json", run) for run in runs])
    page = html_page(table, 1, "T", tmp_path)
    listed = re.findall(r"<summary><b>([^<]*)</b>, (\w+), [^<]*<span class=\"soft\"> ([^<]*)", page)
    assert listed == [
        ("MFM, resnet50", "pretrain", "loss 0.4000"), ("MFM, resnet50", "detection", "box AP 7.00"),
        ("MFM, vit_b", "pretrain", "loss 0.4000"), ("MFM, vit_b", "detection", "box AP 7.00"),
    ]  # fmt: skip


def section(text, name):
    """Return the HTML of one section."""
    return text[text.index(f'<section id="{name}"') :].partition("</section>")[0]


def test_charts(study):
    # two scatter plots would need two rows in a column: only box AP has them
    scatters = section(study[2], "accuracy-against-cost")
    assert scatters.count("<svg") == 1
    assert re.findall("<title>(.*?)</title>", scatters) == [
        "random init: 21 at 0", "MAE &lt;b&gt;\"x\" &amp; y&lt;/b&gt;: 31.1 at 0.0167"]  # fmt: skip
    curves = section(study[2], "learning-curves")
    titles = re.findall("<title>(.*?)</title>", curves)
    assert len(titles) == 2 and titles[0].endswith(", seed 0")  # a metric with one point is no curve
    slots = slots_of([row.label for row in study[0].rows])
    assert slots[0] == 7 and all(colour_of(slot) in curves for slot in slots)
    assert ">loss</text>" in curves and ">box AP</text>" in scatters and ">pretrain device-hours</text>" in scatters


def test_scores_while_pretraining_are_curves_of_their_run(tmp_path):
    mae = pretrain("mae")
    mae["curves"] = {"loss": [[1, 2.0], [9, 1.0]], "online_knn_top1": [[5, 20.0], [9, 30.0]],
                     "online_rankme": [[0, 4.0], [9, 7.0]], "online_patch_knn_miou": [[9, 12.0]]}
    runs = [Run("a", transfer("a", "detection", mae, box_ap=1.0)), Run("p", mae)]
    text = html_page(build_table(runs), 2, "t", tmp_path)
    titles = re.findall("<title>(.*?)</title>", text)
    assert titles.count("online k-NN top-1") == titles.count("RankMe") == 1  # one point is no curve
    assert "online patch k-NN mIoU" not in titles and ">RankMe</text>" not in section(text, "learning-curves")


def test_a_curve_goes_through_its_points():
    svg = ET.fromstring(Charts().lines([Line("one", 0, [[1, 2.0], [50, 1.0], [100, 0.5]])], "iterations", "loss"))
    (line,) = [group for group in svg.iter("g") if group.findtext("title") == "one"]
    numbers = [float(word) for word in line.find("path").get("d").split() if word not in "ML"]
    xs, ys = numbers[::2], numbers[1::2]
    assert len(xs) == 3 and xs[1] == pytest.approx(xs[0] + (xs[2] - xs[0]) * 49 / 99, abs=0.01)
    assert ys[1] == pytest.approx(ys[0] + (ys[2] - ys[0]) * 2 / 3, abs=0.01) and ys[0] < ys[2]  # y goes down
    assert line.find("path").get("style").count(COLOURS[0]) == 1


def test_charts_of_one_page_share_no_id_and_no_style():
    charts = Charts()
    dots = [Dot("a", 0, 1.0, 20.0, 0.5), Dot("b $x$", 9, 1.0, 20.1, None)]
    text = charts.scatter(dots, "hours", "AP") + charts.scatter(dots, "hours", "AP")
    ids = re.findall(r' id="([^"]*)"', text)
    assert ids and len(ids) == len(set(ids)) and {f"#{name}" for name in ids} == set(re.findall('href="([^"]*)"', text))
    assert "<style" not in text and "<metadata" not in text and "b $x$</text>" in text
    places = [float(y) for y in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>(?:a|b \$x\$)</text>', text)][:2]
    assert abs(places[0] - places[1]) > 9  # labels of neighbours lie above each other
    assert text == Charts().scatter(dots, "hours", "AP") + text[len(text) // 2 :]  # the same in every run


def test_the_newest_pictures(study):
    reconstruction, attention = pictures_of(study[1] / "mae")
    assert (reconstruction.kind, reconstruction.width, reconstruction.height) == ("reconstruction", 160, 80)
    image = Image.open(io.BytesIO(base64.b64decode(reconstruction.uri.partition(",")[2])))
    assert image.getpixel((0, 0)) == (0, 128, 0) and attention.kind == "attention"
    assert study[2].count("<img ") == 2


def test_large_pictures_are_made_smaller(tmp_path):
    folder = tmp_path / "t/vis_data/vis_image"
    folder.mkdir(parents=True)
    for k in range(6):
        Image.new("RGB", (1600, 400)).save(folder / f"prediction_{k}_320.png")
    found = pictures_of(tmp_path)
    assert [(p.kind, p.width, p.height) for p in found] == [("prediction", 640, 160)] * 4
    assert found[0].uri.startswith("data:image/jpeg;base64,")


def test_nothing_but_one_number():
    record = transfer("a", "detection", box_ap=1.0)
    text = html_page(build_table([Run("a/result.json", record)]), 2, "t", Path("."))
    assert "1.00" in text and "learning-curves" not in text and "(not here)" in text


def test_foreign_text_is_no_markup_anywhere(tmp_path):
    nasty = "</pre></svg><script>alert(1)</script><img src=x onerror='alert(2)'>{{ 7 * 7 }}\""
    record = transfer("a", "detection", label=nasty, config={nasty: nasty}, protocol=nasty, box_ap=1.0)
    record |= {"dataset": nasty, "command": nasty, "run_id": nasty, "versions": {nasty: nasty}, "started_at": nasty}
    record["files"] = {"checkpoint": {"path": nasty, "sha256": nasty}, "config": None, "log": nasty}
    record["cost"]["device"] = nasty
    record["curves"] = {"loss": [[1, 2.0], [2, 1.0]], "box_ap": [[1, 2.0], [2, 1.0]]}
    record["init"] = init_from(pretrain("p"), run_id=nasty) | {"path": nasty}
    other = transfer("b", "detection", config={nasty: nasty}, protocol=nasty, box_ap=2.0)
    text = html_page(build_table([Run(f"{nasty}/result.json", record), Run("b", other)]), 1, nasty, tmp_path)
    page = Page(text)
    assert text.count("<script>") == 1 and not [tag for tag, _ in page.tags if tag == "img"]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert nasty in " ".join(page.words) and "49" not in page.words[1]
