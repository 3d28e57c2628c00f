"""Reading checkpoints: what mmengine writes comes back whole, and nothing in a file is ever executed."""
import argparse
import json
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from mimtransfer.checkpoints.safe_load import allow_mmengine_checkpoints, read_checkpoint
from mimtransfer.errors import UserError

# A real Runner in a fresh process, where only allow_mmengine_checkpoints() touches the allow-list. The loss of
# step i is i, so the history is known. It prints what the resumed run knows before and after its last epoch.
RESUME = '''
import json, sys
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mimtransfer.checkpoints.safe_load import allow_mmengine_checkpoints

class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
    def forward(self, x, mode):
        return {"loss": torch.tensor(x).float().mean() + 0 * self.weight}

def build(epochs, resume):
    sampler = dict(type="DefaultSampler", shuffle=False)
    return Runner(Model(), sys.argv[1], resume=resume, log_level="ERROR", experiment_name=f"run{epochs}",
                  train_dataloader=dict(dataset=[dict(x=i) for i in range(4)], batch_size=1, sampler=sampler),
                  train_cfg=dict(by_epoch=True, max_epochs=epochs),
                  optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.5)),
                  param_scheduler=dict(type="StepLR", step_size=1, gamma=0.1, end=9))

def show(runner):
    losses = runner.message_hub.get_scalar("train/loss")
    print(json.dumps({"iter": runner.iter, "losses": losses.data[0].tolist(), "lr": runner.optim_wrapper.get_lr()["lr"],
                      "mean": float(losses.statistics("mean", window_size=2))}))

build(2, False).train()
allow_mmengine_checkpoints()
allow_mmengine_checkpoints()
runner = build(3, True)
load = runner.load_or_resume
runner.load_or_resume = lambda: (load(), show(runner))
runner.train()
show(runner)
'''


def test_a_mmengine_run_resumes_with_its_history(tmp_path):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", RESUME, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    resumed, ended = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert resumed["iter"] == 8 and resumed["losses"] == [0.0, 1.0, 2.0, 3.0] * 2 and resumed["mean"] == 2.5
    assert resumed["lr"] == pytest.approx([0.005]) and ended["lr"] == pytest.approx([0.0005])
    assert ended["iter"] == 12 and ended["losses"] == [0.0, 1.0, 2.0, 3.0] * 3
    checkpoint = read_checkpoint(tmp_path / "epoch_3.pth")
    assert checkpoint["message_hub"]["log_scalars"]["train/loss"].data[0].tolist() == [0.0, 1.0, 2.0, 3.0] * 3


@pytest.mark.parametrize("zipped", [True, False])
def test_classes_of_mmengine_argparse_and_numpy(zipped, tmp_path):
    history = HistoryBuffer([1.0, 5.0], [1, 1])
    dtypes = ("u1", "i2", "i4", "i8", "f2", "f4", "f8")
    arrays = [np.arange(6, dtype=dtype).reshape(2, 3) for dtype in dtypes] + [np.array([True, False])]
    written = {
        "history": history,
        "args": argparse.Namespace(lr=1.5e-4, data_path="imagenet", betas=(0.9, 0.95)),
        "best": np.float64(0.25),
        "epoch": np.int64(7),
        "arrays": arrays,
        "model": {"weight": torch.arange(4.0)},
    }
    torch.save(written, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(tmp_path / "a.pth")
    assert read["history"].data[0].tolist() == [1.0, 5.0] and read["history"].statistics("max") == 5.0
    assert read["args"] == written["args"]
    assert read["best"] == 0.25 and type(read["best"]) is np.float64 and read["epoch"] == 7
    assert all(a.dtype == b.dtype and (a == b).all() for a, b in zip(read["arrays"], arrays))
    assert torch.equal(read["model"]["weight"], torch.arange(4.0))


class Call:
    """Pickle as a call of a function, which a careless reader makes."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class OfTheProject:
    """Harmless, but of a class that is not on the list."""


def attacks(witness):
    code = f"open({str(witness)!r}, 'w')"
    return {
        "os.system": (Call(os.system, f"touch {witness}"), f"{os.system.__module__}.system"),
        "eval": (Call(eval, code), "eval"),
        "exec": (Call(exec, code), "exec"),
        "import": (Call(__import__, "os"), "__import__"),
        "subprocess": (Call(subprocess.call, ["touch", str(witness)]), "call"),
        "getattr of a type": (Call(getattr, dict, "fromkeys"), "dict"),
        "getattr of HistoryBuffer": (Call(getattr, HistoryBuffer, "__init__"), "getattr(HistoryBuffer, '__init__')"),
        "class of a project": (OfTheProject(), "OfTheProject"),
        "array of objects": (np.array([OfTheProject()], dtype=object), "numpy.dtype('O8')"),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("attack", attacks("x"))
def test_nothing_in_a_file_is_executed(attack, zipped, tmp_path):
    allow_mmengine_checkpoints()
    payload, named = attacks(tmp_path / "witness")[attack]
    content = {"model": {"w": torch.ones(1)}, "extra": payload}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError) as error:
        read_checkpoint(tmp_path / "a.pth")
    message = str(error.value)
    assert named in message and "could run code" in message and "\n" not in message
    with pytest.raises(pickle.UnpicklingError):  # so does mmengine's own call
        torch.load(tmp_path / "a.pth", weights_only=True)
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("attack", attacks("x"))
def test_nothing_in_a_pickle_of_arrays_is_executed(attack, protocol, tmp_path):
    payload, _ = attacks(tmp_path / "witness")[attack]
    content = {"model": {"w": np.ones(2, np.float32)}, "extra": payload}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(UserError, match="which is not loaded because unpickling it could run code") as error:
        read_checkpoint(tmp_path / "a.pkl")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("attack", attacks("x"))
def test_nothing_in_a_torchscript_archive_is_executed(attack, tmp_path):
    payload, _ = attacks(tmp_path / "witness")[attack]
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/constants.pkl", pickle.dumps(payload, protocol=2))
        archive.writestr("a/data.pkl", pickle.dumps({"w": payload}, protocol=2))
    with pytest.raises(UserError, match="which is not loaded because unpickling it could run code"):
        read_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "witness").exists()


def test_numpy_arrays_of_either_order_and_protocol(tmp_path):
    arrays = {
        "plain": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big-endian": np.arange(3, dtype=">i4"),
        "half": np.ones(2, np.float16),
        "empty": np.zeros((0, 2), np.float32),
    }
    for protocol in (2, 3, 4, 5):
        content = {"model": arrays, "step": np.int64(7), "names": ["a"]}
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
        read = read_checkpoint(tmp_path / "a.pkl")
        assert read["step"] == 7 and read["names"] == ["a"]
        for name, array in arrays.items():
            assert np.array_equal(read["model"][name].numpy(), array)
            assert read["model"][name].numpy().dtype == array.dtype.newbyteorder("=")


def test_a_scripted_module_gives_its_parameters_and_buffers(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    module[0].weight.data = torch.randn(2, 3).t()  # strided
    torch.jit.save(torch.jit.script(module), tmp_path / "a.pt")
    state, read = module.state_dict(), read_checkpoint(tmp_path / "a.pt")
    assert set(read) == set(state) and all(torch.equal(read[name], state[name]) for name in state)


def test_a_storage_too_small_is_damage(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(4, 4)), tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as good, zipfile.ZipFile(tmp_path / "b.pt", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, good.read(name)[: 8 if "/data/" in name else None])
    with pytest.raises(UserError, match="cut off or damaged"):
        read_checkpoint(tmp_path / "b.pt")


def broken_files(folder):
    """Write one file of each kind that is no checkpoint; return what the message must say of each."""
    good = folder / "epoch_12.pth"
    torch.save({"model": {"w": torch.ones(100)}}, good)
    torch.save({"model": {"w": torch.ones(100)}}, folder / "legacy", _use_new_zipfile_serialization=False)
    save_file({"w": torch.ones(100)}, folder / "good.safetensors")
    torch.save([torch.ones(1)], folder / "list.pth")
    (folder / "cut.pkl").write_bytes(pickle.dumps({"w": np.ones(100)})[:-200])
    (folder / "cut.pth").write_bytes(good.read_bytes()[:-200])
    (folder / "cut_legacy.pth").write_bytes((folder / "legacy").read_bytes()[:-300])
    (folder / "cut_head.pth").write_bytes((folder / "legacy").read_bytes()[:30])
    (folder / "cut.safetensors").write_bytes((folder / "good.safetensors").read_bytes()[:-8])
    (folder / "text.pth").write_text("epoch,loss\n1,0.5\n")
    (folder / "lfs.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    (folder / "empty.pth").touch()
    (folder / "picture.pth").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    (folder / "pickled.pth").write_bytes(pickle.dumps({"w": [1.0]}, protocol=4))
    with zipfile.ZipFile(folder / "archive.pth", "w") as archive:
        archive.writestr("readme", "no weights")
    (folder / "folder").mkdir()
    (folder / "folder" / "epoch_1.pth").touch()
    (folder / "void").mkdir()
    return {
        "cut.pth": "cut off or damaged (the end of the file is missing)",
        "cut_legacy.pth": "cut off or damaged",
        "cut_head.pth": "cut off or damaged",
        "cut.safetensors": "cut off or damaged",
        "cut.pkl": "cut off or damaged",
        "archive.pth": "cut off or damaged",
        "text.pth": "is a text file ('epoch,loss 1,0.5' ...), expected a .pth or .safetensors file",
        "lfs.pth": "is a Git LFS pointer, not the file itself; run `git lfs pull`",
        "empty.pth": "is an empty file",
        "picture.pth": "is neither a torch nor a safetensors file",
        "pickled.pth": "not written by torch.save",
        "list.pth": "holds a list, expected a dict of tensors",
        "folder": "is a folder; give one of its files: 'epoch_1.pth'",
        "void": "is a folder; it holds no checkpoint",
        "epoch_21.pth": "no such file; did you mean 'epoch_12.pth'?",
        "nowhere/epoch_12.pth": "no such file; the folder",
    }


def test_each_wrong_file_gets_its_own_line(tmp_path):
    for name, says in broken_files(tmp_path).items():
        with pytest.raises(UserError) as error:
            read_checkpoint(tmp_path / name)
        message = str(error.value)
        assert says in message and str(tmp_path / name) in message and "\n" not in message, message


def test_an_address_is_no_file():
    with pytest.raises(UserError, match="is an address: download it first"):
        read_checkpoint("https://example.org/mae_pretrain_vit_base.pth")


def test_arrays_where_torch_knows_no_bytes(tmp_path, monkeypatch):
    """torch 2.4 has no name for what writes the bytes of an array: the checkpoints of its own runs were refused."""
    from torch import _weights_only_unpickler as reader

    known = {name: kind for name, kind in reader._get_allowed_globals().items() if name != "_codecs.encode"}
    monkeypatch.setattr(reader, "_get_allowed_globals", lambda: known)
    torch.save({"history": np.arange(200.0), "best": np.float64(0.25)}, tmp_path / "a.pth")
    found = read_checkpoint(tmp_path / "a.pth")
    assert np.array_equal(found["history"], np.arange(200.0)) and found["best"] == 0.25
