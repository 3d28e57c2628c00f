"""The model card says what the records say, and nothing else; the folder appears whole or not at all."""
import json

import pytest
import yaml
from exported import SIGNED, checkpoint

from mimtransfer.errors import UserError
from mimtransfer.export.card import model_card
from mimtransfer.export.folder import new_folder, push
from mimtransfer.export.preprocessing import preprocessor_config
from mimtransfer.export.source import read_source
from mimtransfer.results.fingerprint import fingerprint
from mimtransfer.results.record import read_record, write_record

WRITTEN = "ViTModel of Transformers, 40 tensors; all tokens equal to 0e+00"


def transfer(folder, seed, score, pretraining=None, value=7):
    """Write the record of a segmentation that began with the checkpoint."""
    config = {"model.decode_head.num_classes": value}
    origin = {**SIGNED, **(pretraining or {})}
    write_record({
        "schema": 2, "kind": "transfer", "mode": "train", "run_id": f"transfer-{seed}-{score}", "label": "MAE + FAMT",
        "task": "segmentation", "method": "MAE", "strategy": "FAMTMasking", "dataset": "ADE20KDataset ade",
        "backbone": {"arch": None}, "tokenizer": None, "schedule": {"epochs": None, "iters": 160},
        "protocol": {"name": "upernet_160k", "fingerprint": fingerprint(config), "config": config},
        "data_fingerprint": {}, "seed": seed, "metrics": {"miou": {"value": score, "unit": "points"}},
        "init": {"kind": "checkpoint", "path": "x.pth", "sha256": "0" * 64, "matched": 1, "missing": 0,
                 "unexpected": 0, "pretraining": origin},
        "raw_metrics": {}, "evaluated": {"on": "val", "iter": 160},
        "cost": {"images_per_s": None, "wall_s": None, "peak_memory_bytes": None, "device": None, "device_type": None,
                 "processes": 1, "effective_batch": 8},
        "files": {"checkpoint": None, "config": None, "log": None}, "curves": {}, "versions": {}, "git": None,
        "command": "", "started_at": "2026-11-30T00:00:00Z", "finished_at": "2026-11-30T00:00:00Z"}, folder)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return read_source(checkpoint(tmp_path_factory.mktemp("source"))[0])


def test_training_is_that_of_the_record(source):
    card = model_card(source, "huggingface", WRITTEN, "out")
    assert "| method | MAE |\n| strategy | FAMTMasking |\n| data | ImageFolder train, 45000 images |" in card
    assert "| trained for | 3 epochs, 2109 iterations |\n| seed | 7 |\n| run | run-7 |" in card
    assert "| began with | random weights |" in card
    assert "| cost | 1 device-hours on 2 x cpu |\n| images a second | 200 |" in card
    assert source.report.sha256 in card and "ViTModel.from_pretrained('out')" in card
    assert "None were given" in card


def test_the_licence_is_left_open_and_the_head_is_yaml(source):
    for to, library in (("huggingface", "transformers"), ("timm", "timm"), ("onnx", "onnx")):
        head = yaml.safe_load(model_card(source, to, WRITTEN, "out").split("---")[1])
        assert head == {"library_name": library, "pipeline_tag": "image-feature-extraction",
                        "tags": ["mimtransfer", "masked-image-modeling", "vision"]}


def test_scores_are_means_over_the_seeds_of_this_pretraining(source, tmp_path):
    for seed, score, run in ((0, 40.0, "run-7"), (1, 42.0, "run-8"), (2, 44.0, "run-9")):
        transfer(tmp_path / str(seed), seed, score, {"run_id": run, "seed": seed})
    transfer(tmp_path / "other", 0, 10.0, {"config_fingerprint": "e" * 64})
    card = model_card(source, "timm", WRITTEN, "out", [tmp_path])
    (row,) = [line for line in card.splitlines() if line.startswith("| segmentation")]
    digits = fingerprint({"model.decode_head.num_classes": 7})[:12]
    assert row == f"| segmentation | ADE20KDataset ade | upernet_160k `{digits}` | mIoU | 42.00 | 2.00 | 3 |"
    assert "direction at best" not in card


def test_one_run_is_called_one_run(source, tmp_path):
    transfer(tmp_path, 0, 40.0)
    card = model_card(source, "timm", WRITTEN, "out", [tmp_path])
    assert "| mIoU | 40.00 | - | 1 |" in card and "One run tells direction at best." in card


def test_records_of_others_are_refused(source, tmp_path):
    transfer(tmp_path, 0, 40.0, {"config_fingerprint": "e" * 64})
    with pytest.raises(UserError, match=r"none of the 1 records .* give their work dirs, or leave --records out"):
        model_card(source, "timm", WRITTEN, "out", [tmp_path])


def test_records_of_two_protocols_are_refused(source, tmp_path):
    transfer(tmp_path / "a", 0, 40.0)
    transfer(tmp_path / "b", 1, 42.0, value=8)
    with pytest.raises(UserError, match="upernet_160k"):
        model_card(source, "timm", WRITTEN, "out", [tmp_path])


def test_the_record_beside_a_transfer_is_the_score_and_the_cost_of_its_last_checkpoint(tmp_path):
    signed = {**SIGNED, "kind": "transfer", "run_id": "transfer-0-40.0"}
    transfer(tmp_path, 0, 40.0)
    record = read_record(tmp_path / "result.json")
    record["cost"] |= {"wall_s": 7200.0, "processes": 2}
    write_record(record, tmp_path)
    last, _ = checkpoint(tmp_path, "iter_160.pth", signed={**signed, "iter": 160})
    card = model_card(read_source(last), "timm", WRITTEN, "out")
    assert "| mIoU | 40.00 | - | 1 |" in card and "| cost | 4 device-hours" in card
    half, _ = checkpoint(tmp_path, "iter_80.pth", signed={**signed, "iter": 80})
    card = model_card(read_source(half), "timm", WRITTEN, "out")
    assert "mIoU" not in card and "| cost | 1 device-hours" in card


def test_nothing_is_said_of_a_file_that_says_nothing(tmp_path):
    path, _ = checkpoint(tmp_path, signed=None)
    card = model_card(read_source(path), "timm", WRITTEN, "out")
    assert "The file says nothing of it (mimtransfer pretraining" in card and "# epoch" not in card.split("---")[1]


def test_words_of_a_file_are_no_markup(tmp_path):
    path, _ = checkpoint(tmp_path, signed={**SIGNED, "label": "a | b\n# <script>`", "dataset": "[x](y)\n---"})
    card = model_card(read_source(path), "timm", WRITTEN, "out")
    assert "# a \\| b # \\<script\\>', vit_tiny_patch16_224" in card and "| data | \\[x\\](y) --- |" in card


@pytest.mark.parametrize("signed", [dict(cost="much", images_per_s="fast", init=[1]),
                                    dict(cost={"wall_s": "long"}, init={"pretraining": 3}, device={"a": 1})])
def test_odd_words_of_a_file_are_passed_over(signed, tmp_path):
    path, _ = checkpoint(tmp_path, signed={**SIGNED, **signed})
    card = model_card(read_source(path), "timm", WRITTEN, "out")
    assert "| cost |" not in card and "| run | run-7 |" in card


def test_an_odd_number_of_processes_counts_as_one(tmp_path):
    path, _ = checkpoint(tmp_path, signed={**SIGNED, "processes": "two"})
    assert "| cost | 0.5 device-hours on 1 x cpu |" in model_card(read_source(path), "timm", WRITTEN, "out")


def test_images_are_prepared_as_in_our_evaluation(source, tmp_path):
    config = preprocessor_config(source)
    assert config["image_processor_type"] == "ViTImageProcessor" and config["size"] == {"height": 32, "width": 32}
    assert config["image_mean"] == [value / 255 for value in (100.0, 110.0, 120.0)] and config["resample"] == 3
    large = preprocessor_config(read_source(source.path, img_size=224))
    assert large["size"] == {"shortest_edge": 256} and large["crop_size"] == {"height": 224, "width": 224}
    assert preprocessor_config(read_source(checkpoint(tmp_path, in_chans=4)[0])) is None


def test_a_processor_of_transformers_gives_our_pixels(source, tmp_path):
    import numpy as np
    from PIL import Image
    from torchvision.transforms import functional
    from transformers import AutoImageProcessor

    config = preprocessor_config(read_source(source.path, img_size=224))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    picture = Image.fromarray(np.random.RandomState(0).randint(0, 256, (300, 400, 3)).astype(np.uint8))
    theirs = AutoImageProcessor.from_pretrained(tmp_path)(picture, return_tensors="pt")["pixel_values"][0]
    ours = functional.center_crop(functional.resize(picture, 256, functional.InterpolationMode.BICUBIC), 224)
    ours = (functional.pil_to_tensor(ours).float() - theirs.new_tensor([100, 110, 120])[:, None, None])
    ours /= theirs.new_tensor([50, 60, 70])[:, None, None]
    assert (theirs - ours).abs().max() <= 1.01 / 50  # a level of grey


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), new_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
        raise KeyError
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
    with pytest.raises(UserError, match="exists and is no empty folder"), new_folder(tmp_path / "out"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"/file' cannot be made \("), new_folder(tmp_path / "file" / "out"):
        pass


class Hub:
    """What `push` calls of huggingface_hub."""

    calls: list = []
    error: Exception | None = None

    def create_repo(self, **kwargs):
        self.calls.append(("create_repo", kwargs))

    def upload_folder(self, **kwargs):
        self.calls.append(("upload_folder", kwargs))
        if self.error:
            raise self.error


def test_push_uploads_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(Hub, "calls", [])
    assert push(tmp_path, "me/mae") == "https://huggingface.co/me/mae"
    assert Hub.calls == [("create_repo", dict(repo_id="me/mae", private=True, exist_ok=True)),
                         ("upload_folder", dict(repo_id="me/mae", folder_path=str(tmp_path)))]
    monkeypatch.setattr(Hub, "error", OSError("401 Client\nError"))
    with pytest.raises(UserError, match=r"but the Hub did not take it for 'me/mae' \(401 Client Error\): log in"):
        push(tmp_path, "me/mae")
