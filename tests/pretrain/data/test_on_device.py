"""Crops that the device resizes: the host's pixels within a tolerance, its records exactly."""
from random import Random

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.nn.functional import interpolate

import pretrain.methods  # noqa: F401  registers them
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.data import ImageFolder, ResizeWhole
from pretrain.data.decoding import StoredImage, TurboImage
from pretrain.data.on_device import Unresized, bicubic_weights, resize_crops
from pretrain.hooks.map_bank import _whole_images
from pretrain.hooks.reconstruction import ReconstructionHook

CROP = dict(type="RandomResizedCropFlip", size=32)
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two real photographs of scikit-learn, 427 x 640, as JPEG; one smaller, one rotated by its EXIF, one PNG."""
    folder = tmp_path_factory.mktemp("photographs")
    first, second = map(Image.fromarray, load_sample_images().images)
    first.save(folder / "a.jpg", quality=90)
    second.save(folder / "b.jpg", quality=90)
    second.resize((60, 44)).save(folder / "c.jpg", quality=90)
    turned = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    first.crop((0, 0, 80, 50)).save(folder / "d.jpg", quality=90, exif=turned)
    first.crop((100, 100, 160, 150)).save(folder / "e.png")
    return folder


def data_set(folder, augment, **options):
    return ImageFolder(dict(CROP), str(folder), seed=3, augment=augment, **options)


def on_device(sample):
    batch = default_collate([sample])
    return resize_crops(batch["inputs"], batch["crop"], batch["record"].flip)[0]


@pytest.mark.parametrize("decoder", ["pillow", "turbo"])
def test_pixels_are_those_of_the_host_and_records_equal(folder, decoder):
    host, device = (data_set(folder, where, decoder=decoder) for where in ("host", "device"))
    flips = set()
    for item in [(epoch, index) for epoch in range(6) for index in range(len(host))]:
        expected, got = host[item], device[item]
        assert got["inputs"].shape == (64, 64, 3) and got["inputs"].dtype == torch.uint8
        assert all(torch.equal(a, b) for a, b in zip(expected["record"], got["record"]))
        wrong = (on_device(got).int() - expected["inputs"].int()).abs().float()
        assert wrong.mean() <= 1.5, (item, wrong.mean())
        flips.add(bool(got["record"].flip))
    assert flips == {False, True}


@pytest.mark.parametrize(("box", "size", "kept"), [
    ((3, 20, 163, 140), (96, 96), 1),  # at its own size
    ((10, 30, 40, 51), (96, 96), 1),  # smaller than the result
    ((7, 11, 427, 640), (208, 208), 0),  # too large, and 1/2 of it is too small: resized by the worker
    ((7, 11, 423, 633), (120, 170), 2), ((7, 11, 423, 633), (60, 90), 4),  # 1/2, 1/4; edges between pixels
])
@pytest.mark.parametrize("kind", [StoredImage, TurboImage])
def test_how_a_crop_lies_on_its_canvas(folder, box, size, kept, kind):
    data = (folder / "a.jpg").read_bytes()
    canvas, edges = Unresized(kind(data)).pixels(box, size, Image.Resampling.BICUBIC)
    assert canvas.shape == (2 * size[0], 2 * size[1], 3) and canvas.is_contiguous()
    sides = (edges[2] - edges[0]).item(), (edges[3] - edges[1]).item()
    assert sides == (((box[2] - box[0]) / kept, (box[3] - box[1]) / kept) if kept else size)
    bottom, right = (int(edge) for edge in edges[2:].ceil())
    assert not canvas[bottom:].any() and not canvas[:, right:].any()
    expected = StoredImage(data).pixels(box, size, Image.Resampling.BICUBIC, flip=True)
    shown = resize_crops(canvas[None], edges[None], torch.tensor([True]))[0]
    wrong = (shown.int() - expected.int()).abs().float()
    assert wrong.mean() <= (0 if kind is StoredImage and not kept else 0.3 if kept < 2 else 1.5)


@pytest.mark.parametrize(("length", "out"), [(64, 32), (50, 32), (32, 32), (9, 32), (61, 7)])
def test_weights_are_those_of_antialiased_bicubic(length, out):
    """On the identity, torch's own resize gives the weights."""
    expected = interpolate(torch.eye(length)[None, None], (out, length), mode="bicubic", antialias=True)[0, 0]
    weights = bicubic_weights(torch.zeros(1), torch.tensor([float(length)]), length + 5, out)[0]
    assert not weights[:, length:].any()
    torch.testing.assert_close(weights[:, :length], expected, atol=1e-5, rtol=0)


def test_each_image_of_a_batch_has_its_own_box_and_flip():
    state = np.random.default_rng(0)
    canvas = torch.zeros(2, 16, 24, 3, dtype=torch.uint8)
    canvas[0, :8, :12] = torch.from_numpy(state.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    canvas[1] = torch.from_numpy(state.integers(0, 256, (16, 24, 3), dtype=np.uint8))
    crop = torch.tensor([[0.0, 0, 8, 12], [0, 0, 16, 24]])
    shown = resize_crops(canvas, crop, torch.tensor([True, False]))
    assert torch.equal(shown[0], canvas[0, :8, :12].permute(2, 0, 1).flip(2))  # of the size of the result: exact
    expected = interpolate(canvas[1:].permute(0, 3, 1, 2).float(), (8, 12), mode="bicubic", antialias=True)[0]
    assert (shown[1] - expected.clamp(0, 255)).abs().max() <= 0.501


def test_autocast_changes_no_pixel(folder):
    batch = default_collate([data_set(folder, "device")[0, index] for index in range(3)])
    parts = batch["inputs"], batch["crop"], batch["record"].flip
    with torch.autocast("cpu", torch.bfloat16):
        shown = resize_crops(*parts)
    assert torch.equal(shown, resize_crops(*parts))


@pytest.mark.parametrize("method", ["MAE", "MFM"])
def test_a_method_learns_it_from_the_batch(folder, method):
    encoder = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8,
                   model_kwargs=dict(embed_dim=48, depth=2, num_heads=3))
    more = dict(strategy=dict(type="RandomMasking"), decoder=dict(embed_dim=48, depth=1, num_heads=3))
    model = MODELS.build(dict(type=method, encoder=encoder, data_preprocessor=PREPROCESSOR,
                              **(more if method == "MAE" else dict(corruption=dict(type="FrequencyMasking")))))
    batches = {where: default_collate([data_set(folder, where)[0, index] for index in range(4)])
               for where in ("host", "device")}
    host, device = (model.data_preprocessor(batch, True) for batch in batches.values())
    assert set(host) == set(device) and device["inputs"].shape == (4, 3, 32, 32)
    assert (host["inputs"] - device["inputs"]).abs().mean() < 1.5 / 57
    losses = [sum(model(**data).values()).item() for data in (host, device)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    hook = ReconstructionHook(num_images=2)  # keeps a batch, and draws it later
    hook.before_train_iter(None, 0, batches["device"])
    assert torch.equal(model.data_preprocessor(hook._batch)["inputs"], device["inputs"][:2])


def test_whole_images_of_maps_are_resized_by_the_host(folder):
    whole = _whole_images(data_set(folder, "device"), None)
    assert isinstance(whole.transform, ResizeWhole)
    assert torch.equal(whole[0]["inputs"], _whole_images(data_set(folder, "host"), None)[0]["inputs"])


@pytest.mark.parametrize(("options", "line"), [
    (dict(augment="gpu"), "augment='gpu' is unknown, expected 'host' or 'device'"),
    (dict(in_chans=4), "not 8-bit RGB"), (dict(decoder="bands"), "not 8-bit RGB"),
    (dict(transform=dict(CROP, color_jitter=0.4)), "color_jitter=0.4"),
    (dict(transform=dict(CROP, interpolation="bilinear")), "it knows bicubic"),
    (dict(transform=lambda image, rng: None), "not one of ours"),
])
def test_what_it_cannot_do_is_refused_in_one_line(folder, options, line):
    with pytest.raises(UserError, match=line) as caught:
        ImageFolder(**{"transform": dict(CROP), "root": str(folder), "augment": "device", "extensions": ["jpg"],
                       **options})
    assert "\n" not in str(caught.value)


def test_a_broken_file_is_replaced_as_ever(folder, tmp_path):
    whole = (folder / "a.jpg").read_bytes()
    (tmp_path / "0.jpg").write_bytes(whole[:200] + b"\0" * 50)
    (tmp_path / "1.jpg").write_bytes(whole)
    host, device = data_set(tmp_path, "host")[0], data_set(tmp_path, "device")[0]
    assert host["record"].index == device["record"].index == 1


def test_a_crop_is_decoded_without_resizing(folder, monkeypatch):
    """At its own size the worker resizes nothing."""
    monkeypatch.setattr(StoredImage, "pixels", lambda *args, **options: pytest.fail("resized"))
    transform = data_set(folder, "device").transform
    canvas, _, _ = transform(Unresized(StoredImage((folder / "c.jpg").read_bytes())), Random(0))
    assert canvas.inputs.any()
