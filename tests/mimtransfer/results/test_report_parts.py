"""Parts of the report: images side by side, colours of rows, AP by size, costs that are the same in all rows."""
import base64
import io
import json
import re

import pytest
from fabricate_records import pretrain, transfer
from PIL import Image

from mimtransfer.errors import UserError
from mimtransfer.results.record import Run, read_runs, write_record
from mimtransfer.results.render import constant_costs, paper
from mimtransfer.results.report.charts import Charts, Dot
from mimtransfer.results.report.colours import COLOURS, colour_of, line_style, slots_of
from mimtransfer.results.report.page import html_page
from mimtransfer.results.report.sizes import size_figures
from mimtransfer.results.table import build_table


def draw(folder, truth, drawn, **entry):
    """Write an image as PredictionPictureHook does: left the ground truth, right what is found."""
    both = Image.new("RGB", (20, 8), truth)
    both.paste(drawn, (10, 0, 20, 8))
    images = folder / "t/vis_data/vis_image"
    images.mkdir(parents=True)
    both.save(images / "prediction_0_160.png")
    about = {"images": {"prediction_0_160": {"image": "7.jpg", "width": 10, **entry}}}
    (folder / "t/vis_data/predictions.json").write_text(json.dumps(about))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sides")
    mae = pretrain("p")
    records = [transfer("r", "detection", box_ap=1.0), transfer("m", "detection", mae, box_ap=2.0)]
    for record in records:
        write_record(record, folder / record["run_id"])
    rule = {"score_threshold": 0.3, "num_best": 2, "found": 9}
    draw(folder / "r", "red", "green", scores=[0.12, 0.0512], **rule)
    draw(folder / "m", "red", "blue", scores=[0.9, 0.31, 0.3], **rule)
    return html_page(build_table(read_runs([folder])), 1, "t", folder)


def test_what_rows_find_in_one_image_stands_beside_one_ground_truth(page):
    uris = re.findall(r'<img src="data:image/png;base64,([^"]*)"', page)
    images = [Image.open(io.BytesIO(base64.b64decode(uri))) for uri in uris]
    assert [(image.size, image.getpixel((5, 4))) for image in images] == [
        ((10, 8), (255, 0, 0)), ((10, 8), (0, 128, 0)), ((10, 8), (0, 0, 255))]  # fmt: skip
    captions = re.findall(r"<figcaption>(?:<span.*?</span>)?(.*?)</figcaption>", page)
    assert captions[-3:] == [
        "ground truth, 7.jpg",
        "random init, seed 0, best 2 of 9, scores 5.1 to 12.0, none above the threshold",
        "MAE, seed 0, best 3 of 9, scores 30.0 to 90.0, 2 above the threshold",
    ]
    assert page.count("a score above the threshold of 30 %, and the best 2 of an image in any case") == 1


def test_images_without_ground_truth_are_not_cut(tmp_path):
    write_record(transfer("r", "segmentation", miou=1.0), tmp_path / "r")
    draw(tmp_path / "r", "red", "green", width=20)
    page = html_page(build_table(read_runs([tmp_path])), 1, "t", tmp_path)
    assert page.count("<img ") == 1 and 'width="80" height="32"' in page and "ground truth," not in page


@pytest.mark.parametrize("wrong", [{"image": None}, {"width": "10"}, {"scores": [None]}, {"scores": [0.5]}])
def test_a_broken_file_beside_the_images_is_named(tmp_path, wrong):
    write_record(transfer("r", "detection", box_ap=1.0), tmp_path / "r")
    draw(tmp_path / "r", "red", "green", **wrong)
    with pytest.raises(UserError, match=r"r/t/vis_data/predictions\.json: an image without a name, .*; draw again"):
        html_page(build_table(read_runs([tmp_path])), 1, "t", tmp_path)


def test_images_of_older_runs_stand_alone_as_they_were_drawn(tmp_path):
    write_record(transfer("r", "detection", box_ap=1.0), tmp_path / "r")
    draw(tmp_path / "r", "red", "green")
    (tmp_path / "r/t/vis_data/predictions.json").unlink()
    page = html_page(build_table(read_runs([tmp_path])), 1, "t", tmp_path)
    assert page.count("<img ") == 1 and 'width="80" height="32"' in page


def test_a_row_has_one_colour_in_every_report():
    several = slots_of(["random init", "MAE", "mine", "MFM, resnet50"])
    assert len(set(several)) == 4 and colour_of(several[0]) == COLOURS[-1]
    assert several[1:2] == slots_of(["MAE"]) and several[3:] == slots_of(["MFM"]) == slots_of(["MFM [0a1b2c]"])
    (alone,) = slots_of(["mine"])
    assert several[2] == alone and slots_of(["x", "mine", "y"])[1] == alone  # whatever stands before it


def test_more_rows_than_colours_differ_in_dashes():
    labels = ["random init", "MAE", "MFM, a", "MFM, b", *[f"row {number}" for number in range(17)]]
    slots = slots_of(labels)
    looks = {(line_style(slot)["color"], line_style(slot)["linestyle"]) for slot in slots}
    assert len(looks) == len(labels) and colour_of(slots[0]) == COLOURS[-1]
    assert sum(colour_of(slot) == COLOURS[-1] for slot in slots) == 1


def sized(name, source=None, label="random init", seed=0, **scores):
    made = transfer(name, "detection", source, seed=seed, box_ap=10.0, **scores)
    return Run(f"{name}/result.json", made)


def test_bars_of_object_sizes():
    mae = pretrain("p")
    runs = [sized("r0", box_ap_small=1.0, box_ap_large=8.0), sized("r1", seed=1, box_ap_small=2.0, box_ap_large=8.0),
            sized("m0", mae, box_ap_large=16.0)]  # fmt: skip
    ((title, protocol, svg),) = size_figures(build_table(runs), Charts())
    assert (title, protocol) == ("box AP by object size", "small_detection")
    assert re.findall("<title>(.*?)</title>", svg) == [
        "random init, small: 1.5 \u00b1 0.71", "random init, large: 8 \u00b1 0", "MAE, large: 16"]
    assert ">box AP</text>" in svg and "medium" not in svg  # a size that the data set does not have
    assert size_figures(build_table([sized("r0", box_ap_large=8.0)]), Charts()) == []


def test_bars_of_object_sizes_say_how_many_objects():
    runs = [sized("r0", box_ap_small=1.0, box_ap_medium=40.0), sized("r1", seed=1, box_ap_small=2.0, box_ap_medium=0.0)]
    for run in runs:
        run.record["metrics"]["box_ap_small"]["objects"] = 1234
        run.record["metrics"]["box_ap_medium"]["objects"] = 1
    ((_, _, svg),) = size_figures(build_table(runs), Charts())
    assert ">1,234 objects</text>" in svg and ">1 object</text>" in svg
    runs[1].record["metrics"]["box_ap_medium"]["objects"] = 2  # of another data set
    ((_, _, svg),) = size_figures(build_table(runs), Charts())
    assert "1,234 objects" in svg and "1 object<" not in svg and "2 objects" not in svg


def test_costs_that_are_the_same_in_all_rows_are_said_once(tmp_path):
    """Scores are what is compared: they have a column also where they are equal, or only print alike."""
    a, b = pretrain("a"), pretrain("b", label="SimMIM", speed=7.0)
    records = [a, b, transfer("r", "detection", box_ap=3.0, mask_ap=0.0), transfer("x", "detection", a, box_ap=4.0,
               mask_ap=0.04), transfer("y", "detection", b, box_ap=5.0, mask_ap=0.0)]  # fmt: skip
    table = build_table([Run(f"{record['run_id']}/result.json", record) for record in records])
    assert constant_costs(table) == {"device_hours": "pretrain device-hours: 0.017",
                                     "peak_memory_gb": "pretrain peak GB: 2.0"}
    page = html_page(table, 1, "t", tmp_path)
    said = "The same in all rows: pretrain device-hours: 0.017; pretrain peak GB: 2.0."
    assert page.count(said) == 1 and ">peak GB</th>" not in page and ">images/s</th>" in page
    assert page.count(">mask AP</th>") == 1 and len(re.findall(r">\s*0\.0</a>", page)) == 3
    assert "& mask AP &" in paper(table) and "mask AP: 0.0" not in paper(table)
    assert constant_costs(build_table([Run("a", a), Run("x", records[3])])) == {}  # one row, nothing to compare with


def test_titles_in_a_scatter_plot_cover_no_dot():
    dots = [Dot("random init", 0, 0.0, 37.0, None), Dot("MFM", 1, 0.135, 41.1, None), Dot("SimMIM", 2, 0.2, 41.2, None),
            Dot("MaPeT", 3, 0.57, 48.0, None)]  # fmt: skip
    svg = Charts().scatter(dots, "hours", "top-1")
    places = dict(re.findall(r"<title>(\w+):.*?<use [^>]*x=\"([\d.]+)\"", svg, re.DOTALL))
    x, style = re.search(r'<text style="([^"]*)" x="([\d.]+)"[^>]*>MFM</text>', svg).group(2, 1)
    start = float(x) - (24 if "text-anchor: end" in style else 0)  # an M is 8.6 points wide, an F 5.8
    assert not start - 5 < float(places["SimMIM"]) < start + 24 + 5
    assert ">top-1</text>" in svg


def test_titles_in_a_scatter_plot_cross_no_bar():
    """Two rows that cost nearly the same, as MAE and FAMT in the demo: the title of one lay on the bar of the other."""
    dots = [Dot("random init", 0, 0.0, 4.2, 3.5), Dot("MAE", 1, 0.045, 10.0, 2.7),
            Dot("MAE + FAMT", 2, 0.043, 8.6, 1.7)]  # fmt: skip
    svg = Charts().scatter(dots, "hours", "box AP")
    bars = [tuple(map(float, bar)) for bar in re.findall(r'd="M ([\d.]+) ([\d.]+) +L \1 ([\d.]+) ', svg)]
    assert len(bars) == 3
    for title, width in (("random init", 54), ("MAE", 23), ("MAE + FAMT", 66)):
        text = re.search(rf'<text style="([^"]*)" x="([\d.]+)" y="([\d.]+)"[^>]*>{re.escape(title)}</text>', svg)
        start, baseline = float(text[2]) - ("text-anchor: end" in text[1]) * width, float(text[3])
        assert not [x for x, low, high in bars if start < x < start + width and high < baseline and baseline - 8 < low]
