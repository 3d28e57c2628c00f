"""CIFAR and STL-10 binaries, made here in their published format."""
import functools
import hashlib
import http.server
import pickle
import tarfile
import threading

import numpy as np
import pytest
import torch
import torchvision

from mimtransfer.errors import UserError
from mimtransfer.registry import DATASETS


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def web(tmp_path):
    """Serve tmp_path on this machine; give its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Write 3 + 2 training and 2 test images; give their pixels [5, 3, 32, 32]."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    sizes = {"data_batch_1": 3, "data_batch_2": 2, "test_batch": 2}
    parts = {name: rng.integers(0, 256, (number, 3072), dtype=np.uint8) for name, number in sizes.items()}
    for name, data in parts.items():
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": [0] * len(data)}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["cat"]}))
    source = torchvision.datasets.CIFAR10
    sums = [[name, md5(folder / name)] for name in parts]
    monkeypatch.setattr(source, "train_list", sums[:2])
    monkeypatch.setattr(source, "test_list", sums[2:])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(folder / "batches.meta")}
    monkeypatch.setattr(source, "meta", meta)
    return torch.from_numpy(np.concatenate([parts["data_batch_1"], parts["data_batch_2"]])).view(5, 3, 32, 32)


def build(name, root, size=32, **options):
    transform = {"type": "ResizeWhole", "size": size}
    return DATASETS.build({"type": name, "root": str(root), "transform": transform, **options})


def test_cifar_pixels(tmp_path, cifar):
    dataset = build("CIFAR10", tmp_path)
    assert len(dataset) == 5
    assert torch.equal(torch.stack([dataset[i]["inputs"] for i in range(5)]), cifar)
    assert [int(dataset[i]["record"].index) for i in range(5)] == list(range(5))
    assert len(build("CIFAR10", tmp_path, train=False)) == 2


def test_cifar_missing_or_damaged(tmp_path, cifar):
    with pytest.raises(UserError) as caught:
        build("CIFAR10", tmp_path / "nowhere")
    assert (
        f"CIFAR10: {tmp_path}/nowhere/cifar-10-batches-py does not exist: set download=True of the data set, or unpack "
        f"https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz in {tmp_path}/nowhere"
    ) in str(caught.value)
    with pytest.raises(UserError, match=r"CIFAR100: .*cifar-100-python does not exist"):
        build("CIFAR100", tmp_path)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"")
    with pytest.raises(UserError, match=r"cifar-10-batches-py is incomplete or damaged"):
        build("CIFAR10", tmp_path)


def test_cifar_download(tmp_path, cifar, monkeypatch, web):
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    source = torchvision.datasets.CIFAR10
    monkeypatch.setattr(source, "tgz_md5", md5(archive))
    monkeypatch.setattr(source, "url", f"{web}/{archive.name}")
    dataset = build("CIFAR10", tmp_path / "new", download=True)
    assert torch.equal(dataset[4]["inputs"], cifar[4])
    monkeypatch.setattr(source, "url", f"{web}/no-such-archive")
    with pytest.raises(UserError, match=r"CIFAR10: cannot fetch http://.*no-such-archive \(.*: fetch it") as caught:
        build("CIFAR10", tmp_path / "newer", download=True)
    assert "\n" not in str(caught.value)


def test_stl10_pixels_are_turned_upright(tmp_path, monkeypatch):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 3, 96, 96), dtype=np.uint8)
    files = {
        "train_X.bin": images[:1],
        "train_y.bin": np.ones(1, np.uint8),
        "unlabeled_X.bin": images[1:],
        "test_X.bin": images[:1],
        "test_y.bin": np.ones(1, np.uint8),
    }
    for name, content in files.items():
        # Published column by column.
        (content.transpose(0, 1, 3, 2) if content.ndim == 4 else content).tofile(folder / name)
    source = torchvision.datasets.STL10
    sums = [[name, md5(folder / name)] for name in files]
    monkeypatch.setattr(source, "train_list", sums[:3])
    monkeypatch.setattr(source, "test_list", sums[3:])
    for split, expected in [("unlabeled", images[1:]), ("train+unlabeled", images), ("train", images[:1])]:
        dataset = build("STL10", tmp_path, size=96, split=split)
        shown = torch.stack([dataset[i]["inputs"] for i in range(len(dataset))])
        assert torch.equal(shown, torch.from_numpy(expected))
    with pytest.raises(UserError, match=r"STL10: got split='unlabelled', expected one of train, train.unlabeled"):
        build("STL10", tmp_path, split="unlabelled")
    with pytest.raises(UserError, match=r"STL10: .*stl10_binary does not exist: set download=True"):
        build("STL10", tmp_path / "nowhere")
