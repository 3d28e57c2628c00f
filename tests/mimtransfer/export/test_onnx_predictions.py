"""ONNX Runtime predicts from pixels what mmseg and our classifier predict, as config.json says it."""
import json

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from exported import PIXELS, checkpoint
from trained_models import CLASSES, FCN, VIT, normalised, one_map, pixels, preprocessor, segmentor, trained

from mimtransfer.errors import UserError
from mimtransfer.export import onnx_predictions
from mimtransfer.export.folder import new_folder
from mimtransfer.export.onnx_predictions import write_predictions
from mimtransfer.export.trained import read_trained


def exported(tmp_path, path, config, img_size=None, **options):
    with new_folder(tmp_path / "out") as folder:
        line = write_predictions(read_trained(path, config, img_size), folder, **options)
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    said = json.loads((tmp_path / "out" / "config.json").read_text())

    def run(images):
        found = session.run(None, {"images": images.numpy()})
        return dict(zip([output.name for output in session.get_outputs()], map(torch.from_numpy, found), strict=True))

    return run, said, line


def same(theirs, ours):
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4 * ours.abs().max().item())


@torch.no_grad()
def test_a_segmentor_for_any_size(tmp_path):
    path, config, model = trained(tmp_path, segmentor())
    run, said, line = exported(tmp_path, path, config, dynamic_size=True)
    assert line.startswith("Predictions in ONNX of opset 18, EncoderDecoder, images of any size, logits and class_map")
    for images in (pixels(32, 32), pixels(40, 72, 1), pixels(88, 48)):  # cells of the pooling overlap in some
        found = run(images)
        logits = F.interpolate(model(normalised(images)), images.shape[2:], mode="bilinear", align_corners=False)
        same(found["logits"], logits)
        top = logits.topk(2, 1).values
        clear = top[:, 0] - top[:, 1] > 2e-4 * logits.abs().max()
        assert found["class_map"].dtype == torch.int64 and clear.float().mean() > 0.9
        assert len(found["class_map"].unique()) == 3
        assert torch.equal(found["class_map"][clear], logits.argmax(1)[clear])
    assert said["input"] == {"name": "images", "dtype": "float32", "shape": ["batch", 3, "height", "width"],
                             "multiple_of": [8, 8], "channels": "RGB", "range": [0, 255]}
    assert said["normalisation"] == {"in_the_graph": True, **PIXELS}
    assert said["classes"] == list(CLASSES) and said["task"] == "image-segmentation" and said["slide"] is None
    assert said["preparation"] == [{"type": "Resize", "scale": [64, 32], "keep_ratio": True}]
    assert said["outputs"] == [
        {"name": "logits", "dtype": "float32", "shape": ["batch", 3, "height", "width"]},
        {"name": "class_map", "dtype": "int64", "shape": ["batch", "height", "width"]}]


@torch.no_grad()
def test_a_window_of_a_slide_test_of_a_model_that_takes_bgr(tmp_path):
    slide = dict(mode="slide", crop_size=(24, 40), stride=(16, 24))
    path, config, model = trained(tmp_path, one_map(FCN, test_cfg=slide, data_preprocessor=preprocessor(
        bgr_to_rgb=False)))
    run, said, line = exported(tmp_path, path, config)
    assert line.endswith("; one window of its slide test, stride 16 x 24")
    images = pixels(24, 40, 3)
    same(run(images)["logits"], F.interpolate(model(normalised(images[:, [2, 1, 0]])), (24, 40), mode="bilinear"))
    assert said["slide"] == {"window": [24, 40], "stride": [16, 24]} and said["input"]["shape"][2:] == [24, 40]
    assert said["normalisation"]["mean"] == PIXELS["mean"][::-1]  # as the program hands them over, R G B


@torch.no_grad()
def test_a_model_of_one_output_channel(tmp_path):
    path, config, model = trained(tmp_path, one_map(dict(FCN, num_classes=2, out_channels=1, threshold=0.51)))
    run, said, _ = exported(tmp_path, path, config, 48)
    found = run(pixels(48, 48))
    values = F.interpolate(model(normalised(pixels(48, 48))), (48, 48), mode="bilinear").sigmoid()
    same(found["probabilities"], values)
    clear = (values[:, 0] - 0.51).abs() > 1e-3
    assert torch.equal(found["class_map"][clear], (values[:, 0] > 0.51).long()[clear])
    assert 0 < found["class_map"].float().mean() < 1
    assert [output["name"] for output in said["outputs"]] == ["probabilities", "class_map"]


@torch.no_grad()
def test_depth(tmp_path):
    head = dict(type="mimtransfer.LinearDepthHead", in_channels=[48], align_corners=None)
    del (model := one_map(head))["decode_head"]["align_corners"]
    path, config, built = trained(tmp_path, {**model, "type": "DepthEstimator", "backbone": VIT})
    run, said, _ = exported(tmp_path, path, config, (24, 32))
    depth = F.interpolate(built(normalised(pixels(24, 32))), (24, 32), mode="bilinear")
    same(run(pixels(24, 32))["depth"], depth)
    assert said["outputs"] == [{"name": "depth", "dtype": "float32", "shape": ["batch", 1, 24, 32]}]


@torch.no_grad()
def test_a_classifier_is_built_from_the_file_alone(tmp_path):
    options = dict(num_classes=3, norm="batch", freeze_backbone=True, mixup=dict(mixup_alpha=0.8))
    path, _, model = trained(tmp_path, dict(
        type="Classifier", backbone=VIT, data_preprocessor=dict(type="ImgDataPreprocessor", **PIXELS), **options),
        scope="mimtransfer", config=False)
    run, said, line = exported(tmp_path, path, None)
    assert "Classifier, images of 32 x 32, logits;" in line
    found = run(pixels(32, 32))["logits"]
    same(found, model(normalised(pixels(32, 32))))
    assert not torch.equal(found[0], found[1])
    assert said["classes"] == list(CLASSES) and said["outputs"] == [
        {"name": "logits", "dtype": "float32", "shape": ["batch", 3]}]


WINDOWS = dict(VIT, window_size=2, global_blocks=(1,))
SLIDE = dict(mode="slide", crop_size=(32, 32), stride=(16, 16))


@pytest.mark.parametrize(("model", "options", "why"), [
    (one_map(FCN, test_cfg=SLIDE), dict(img_size=48), "slides a window of 32 x 32 pixels over the image"),
    (one_map(FCN, test_cfg=SLIDE), dict(dynamic_size=True), "which is the size of the file: leave out --dynamic-size"),
    (one_map(FCN, test_cfg=dict(SLIDE, mode="slide_flip")), {}, "mode is 'slide_flip', which an ONNX file cannot hold"),
    (one_map(FCN) | dict(backbone=WINDOWS), dict(dynamic_size=True), "windows are cut by the size of the images"),
    (one_map(FCN), dict(opset=17), "--opset 17: expected 18 to "),
    (one_map(FCN, data_preprocessor=preprocessor(test_cfg=dict(size=(64, 64)))), {},
     "pads test images of 32 x 32 pixels to 64 x 64: give --img-size 64 64"),
])
def test_what_cannot_be_is_refused(model, options, why, tmp_path):
    path, config, _ = trained(tmp_path, model)
    refused(tmp_path, path, config, why, **options)


def refused(tmp_path, path, config, why, **options):
    with pytest.raises(UserError, match=why) as error:
        exported(tmp_path, path, config, **options)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_other_kinds_of_checkpoints_are_refused(tmp_path):
    path, config, _ = trained(tmp_path, one_map(FCN))
    refused(tmp_path, path, None, "it holds the weights of .EncoderDecoder., which no file may have built.*--config")
    detector = checkpoint(tmp_path, "b.pth", model=dict(type="MaskRCNN", backbone=VIT, roi_head={}))[0]
    refused(tmp_path, detector, None, "a detector is not written whole.*mmdeploy")
    hostile = checkpoint(tmp_path, "d.pth", model=dict(type="Classifier", backbone=dict(type="os.system", arch="true")))
    refused(tmp_path, hostile[0], None, "config.backbone names 'os.system', which a file may not build")
    refused(tmp_path, checkpoint(tmp_path, "c.pth")[0], None, "a pretraining predicts no classes")
    refused(tmp_path, checkpoint(tmp_path, "c.pth")[0], config, "run tools/train.py CONFIG --pretrained")


def test_images_of_four_bands_keep_the_order_of_their_files(tmp_path):
    numbers = preprocessor(bgr_to_rgb=False, mean=[1.0, 2.0, 3.0, 4.0], std=[2.0] * 4)
    model = one_map(FCN, data_preprocessor=numbers) | dict(backbone=dict(VIT, in_chans=4))
    path, config, _ = trained(tmp_path, model, pipeline=[dict(type="mimtransfer.LoadBands", in_chans=4)])
    found = read_trained(path, config)
    images = torch.rand(2, 4, 16, 16)
    expected = (images - torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None]) / 2
    torch.testing.assert_close(onnx_predictions.Predictions(found).pixels(images), expected)
    assert not found.loads_bgr and found.source.pixels is None and found.preparation == []


@pytest.mark.parametrize(("change", "why"), [
    (lambda found: {**found, "logits": found["logits"] + 1}, "computes other predictions than the checkpoint's model"),
    (lambda found: {**found, "class_map": 2 - found["class_map"]}, "finds other classes than the checkpoint's model"),
])
def test_a_runtime_that_predicts_otherwise_leaves_no_folder(change, why, tmp_path, monkeypatch):
    path, config, _ = trained(tmp_path, one_map(FCN))
    model = read_trained(path, config)

    def session(images):
        logits, class_map = onnx_predictions.as_tested(model, images)
        return change({"logits": logits, "class_map": class_map})

    monkeypatch.setattr(onnx_predictions, "write_file", lambda *args: session)
    refused(tmp_path, path, config, why)
