"""Subsets of the labels in tables: seeds of subsets are seeds, shares are columns, and a chart joins these."""
import re

import pytest
from fabricate_records import init_from, points, pretrain, record

from mimtransfer.results.fingerprint import fingerprint
from mimtransfer.results.label_shares import amount_of, of_all_labels, sample_of, seed_keys, seed_text
from mimtransfer.results.record import Run
from mimtransfer.results.render import notes_of
from mimtransfer.results.report.charts import Charts
from mimtransfer.results.report.label_shares import groups_of, share_figures
from mimtransfer.results.report.page import html_page
from mimtransfer.results.table import ProtocolMismatch, build_table

TRAIN = "train_dataloader.dataset"
BASE = {"train_cfg.max_iters": 100, f"{TRAIN}.type": "BaseSegDataset"}


def subset(seed, **size):
    return {"train_cfg.max_iters": 100, f"{TRAIN}.type": "mimtransfer.LabelSubset", f"{TRAIN}.seed": seed,
            f"{TRAIN}.dataset.type": "BaseSegDataset", **{f"{TRAIN}.{key}": value for key, value in size.items()}}


def run(config, name, score, seed=0, label="random init", code=None):
    init = {"kind": "random"} if label == "random init" else init_from(pretrain("mae", label=label))
    found = record("transfer", label, code or f"{label}-{name}-{seed}-{score}", config, seed=seed, init=init,
                   metrics=points(miou=score), task="segmentation")  # fmt: skip
    found["protocol"]["name"] = name
    return Run(found["run_id"], found)


def test_seeds_of_subsets_are_seeds():
    """Same seed of the run, three subsets: three values of one cell, paired with those of the other row."""
    scores = {"random init": [10.0, 12.0, 17.0], "MAE": [14.0, 16.5, 20.0]}
    runs = [run(subset(labels, share=0.01), "U, 1 % of the labels", score, label=label)
            for label, values in scores.items() for labels, score in enumerate(values)]  # fmt: skip
    table = build_table(runs)
    (column,) = table.columns
    cells = {row.label: row.cells[column] for row in table.rows}
    assert {label: cell.values for label, cell in cells.items()} == scores
    assert cells["MAE"].by_seed == {0: 14.0, "0/1": 16.5, "0/2": 20.0}
    assert cells["MAE"].test.pairs == 3 and cells["MAE"].test.difference == pytest.approx(11.5 / 3)
    assert not [note for note in table.notes if "repeats" in note]


def test_other_subsets_are_no_other_backbones():
    """Across backbones, a note for each backbone: the seed of a subset is no setting of it."""
    name, vit, wide = "U, 1 % of the labels", {"model.backbone.arch": "vit"}, {"model.backbone.arch": "wide"}
    runs = [run({**subset(seed, share=0.01), **vit}, name, 10.0 + seed, seed) for seed in (0, 1, 2)]
    table = build_table(runs, across_backbones=True)
    assert not table.notes and f"{name}', fingerprints of its subsets" in "".join(notes_of(table))
    runs += [run({**subset(seed, share=0.01), **wide}, name, 20.0 + seed, seed, "MAE") for seed in (0, 1)]
    notes = build_table(runs, across_backbones=True).notes
    assert [note for note in notes if "backbone" in note] == [
        f"Another backbone in the column {name!r}: MAE (arch 'wide', not 'vit')."]  # fmt: skip
    whole = [run({**BASE, **backbone}, "U", 1.0, label=label) for backbone, label in ((vit, "A"), (wide, "B"))]
    assert "protocol 'U', fingerprints " in (said := " ".join(notes_of(build_table(whole, across_backbones=True))))
    assert "subset" not in said


def test_a_repeated_subset_is_no_new_sample():
    table = build_table([run(subset(1, share=0.1), "U", score, seed=1, code=f"run {score}") for score in (5.0, 7.0)])
    assert [cell.values for row in table.rows for cell in row.cells.values()] in ([[5.0]], [[7.0]])


@pytest.mark.parametrize("other", [subset(1, share=0.02), subset(1, shots=1), {**subset(1, share=0.01), "a": 1}, BASE,
                                   {**BASE, f"{TRAIN}.seed": 1}])  # fmt: skip
def test_what_differs_in_more_than_the_seed_of_a_subset_is_refused(other):
    with pytest.raises(ProtocolMismatch):
        build_table([run(subset(0, share=0.01), "U", 1.0), run(other, "U", 2.0, seed=1)])


def test_only_seeds_of_subsets_of_training_data():
    assert seed_keys(subset(3, share=0.1)) == {f"{TRAIN}.seed"}
    deep = {"train_dataloader.dataset.datasets.1.shots": 10, "train_dataloader.dataset.seed": 1,
            "model.share": 0.1, "val_dataloader.dataset.fraction": 0.5}  # fmt: skip
    assert seed_keys(deep) == {"train_dataloader.dataset.datasets.1.seed"}
    memory = "eval_cfg.memory_dataloader.dataset"
    assert seed_keys({f"{memory}.fraction": 0.1, f"{memory}.images_per_class": None}) == {f"{memory}.seed"}
    assert seed_keys({f"{memory}.fraction": None, f"{memory}.num_images": 100}) == set()


def test_the_sample_of_a_run():
    def found(config, seed):
        made = record("transfer", "MAE", "x", config, seed=seed)
        return sample_of(made), seed_text(made)

    assert found(BASE, 2) == (2, "2") and found(subset(2, share=0.1), 2) == (2, "2")
    assert found(subset(5, share=0.1), 2) == ("2/5", "2, of the labels 5")
    fraction = {f"{TRAIN}.fraction": 0.1}
    assert found(fraction, 0) == (0, "0") and found(fraction, 1) == ("1/0", "1")  # the data set's own seed is 0
    assert found(BASE, None) == ("-", "None")


@pytest.mark.parametrize(("config", "amount"), [
    (BASE, ("share", 1.0)), (subset(0, share=0.01), ("share", 0.01)), (subset(0, shots=30), ("shots", 30.0)),
    ({f"{TRAIN}.fraction": 0.1, f"{TRAIN}.num_images": None}, ("share", 0.1)),
    ({f"{TRAIN}.images_per_class": 5}, ("shots", 5.0)), ({f"{TRAIN}.num_images": 100}, None),
    ({f"{TRAIN}.list_file": "1percent.txt"}, None),
    ({f"{TRAIN}.datasets.{k}.share": 0.05 for k in (0, 1)}, ("share", 0.05)),
    ({f"{TRAIN}.datasets.{k}.share": 0.05 * (k + 1) for k in (0, 1)}, None),
])  # fmt: skip
def test_the_amount_of_labels(config, amount):
    assert amount_of(config) == amount


@pytest.mark.parametrize(("name", "whole"), [
    ("UperNet, ADE20K, 160k", "UperNet, ADE20K, 160k"), ("UperNet, ADE20K, 1 % of the labels", "UperNet, ADE20K"),
    ("A, 0.5 % of the labels", "A"), ("A, 1 shot", "A"), ("A, 30 shots", "A"), ("A, 10 images of each class", "A"),
    ("A, 10 % of the labels, 5 epochs", "A, 10 % of the labels, 5 epochs"),
])  # fmt: skip
def test_the_protocol_of_the_whole(name, whole):
    assert of_all_labels(name) == whole


def study():
    runs = []
    for share, name in ((0.01, "U, 1 % of the labels"), (0.1, "U, 10 % of the labels"), (1, "U")):
        for label, gain in (("random init", 0), ("MAE", 8)):
            for seed in (0, 1):
                config = BASE if share == 1 else subset(seed, share=share)
                runs.append(run(config, name, 20 + gain + 10 * share + seed, seed, label))
    return build_table([*runs, run(BASE, "another", 3.0)])


def test_chart_of_scores_against_shares(tmp_path):
    table = study()
    (key,) = groups_of(table)
    assert key == ("segmentation", "U", "miou", "share") and set(groups_of(table)[key].values()) == {1, 10, 100}
    ((title, protocol, svg),) = share_figures(table, Charts())
    assert (title, protocol) == ("mIoU", "U")
    assert "random init: 20.6 at 1 %, 21.5 at 10 %, 30.5 at 100 %" in svg
    assert "MAE: 28.6 at 1 %, 29.5 at 10 %, 38.5 at 100 %" in svg
    axis = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert [text for text in axis if "%" in text] == ["1 %", "10 %", "100 %"] and "share of the labels" in axis
    page = html_page(table, 1, "Labels", tmp_path)
    assert '<section id="few-labels"><h2>Score against labels</h2>' in page and svg.split("<title>")[1][:20] in page
    assert "of the labels 1" not in page  # the seed of the run and that of the labels are one


def test_columns_stand_in_the_order_of_the_labels():
    names = [f"U, {k} % of the labels" for k in (1, 2, 10)] + ["U", "V, 1 shot", "V, 10 shots", "W"]
    runs = [run(subset(0, share=0.1 + k / 10), name, k) for k, name in enumerate(names)]
    assert [column.protocol for column in build_table(runs[::-1]).columns] == names


def test_every_fingerprint_is_named():
    notes = notes_of(build_table([run(subset(k, share=0.01), "U, 1 % of the labels", k, code=f"{k}") for k in (0, 1)]))
    codes = [fingerprint(subset(k, share=0.01))[:12] for k in (0, 1)]
    said = f"segmentation: protocol 'U, 1 % of the labels', fingerprints of its subsets {codes[0]}, {codes[1]}."
    assert said in notes
    assert f"segmentation: protocol 'U', fingerprint {fingerprint(BASE)[:12]}." in notes_of(study())


def test_no_chart_of_a_single_share(tmp_path):
    table = build_table([run(BASE, "U", 1.0), run(BASE, "V", 2.0)])
    assert share_figures(table, Charts()) == [] and "few-labels" not in html_page(table, 1, "Labels", tmp_path)
