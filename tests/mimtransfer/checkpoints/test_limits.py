"""Checkpoints that would hang, fill the memory or crash whoever reads them are refused in one line, within seconds."""
import argparse
import multiprocessing
import os
import pickle
import resource
import socket
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mimtransfer.checkpoints.safe_load import (
    allow_mmengine_checkpoints,
    load_from_local,
    read_checkpoint,
    state_dict_of,
)
from mimtransfer.errors import UserError


class Call:
    """Pickle as a call of a function."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def shared(make, levels=60):
    """Nest pairs that share their halves: 2 ** levels values in as many bytes."""
    value = make(["x", "x"])
    for _ in range(levels):
        value = make([value, value])
    return value


def into_itself():
    value = []
    value.append(value)
    return value


def deep(levels=100_000):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def raw(body: bytes) -> bytes:
    """A pickle of protocol 2, written by hand."""
    return b"\x80\x02" + body + b"."


def archive(path, body: bytes, **options):
    """Write the archive of a torch.save with a pickle of one's own."""
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr("archive/data.pkl", body)
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/version", "3\n")


TUPLES = b"(K\x01K\x01tq\x00" + b"".join(  # t = (1, 1), then 60 times t = (t, t)
    b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60)
)
KEYED = raw(b"}" + TUPLES + b"K\x01s")  # as the key of a dict: it is hashed


def deep_pickle(levels=100_000):
    return raw(b"}X\x01\x00\x00\x00a" + b"]" * levels + b"a" * (levels - 1) + b"s")


def put_slot(slot):
    return raw(b"}r" + struct.pack("<I", slot))


SAVED = {  # name: (what torch.save writes, what the line must say)
    "forged array": (Call(np.ndarray, (2,), "O", b"A" * 16), "numpy.ndarray()"),
    "forged dtype": (Call(np.dtype, "O"), "numpy.dtype('O')"),
    "structured dtype": (Call(np.dtype, "f4,O"), "numpy.dtype('f4,O')"),
    "object array": (np.array([[1], None], dtype=object), "numpy.dtype('O8')"),
    "text array": (np.array(["a"]), "numpy.dtype('U1')"),
    "date": (np.datetime64("2020-01-01"), "numpy.dtype('M8')"),
    "shared lists": (shared(list), "more than 5,000,000 values"),
    "shared tuples": (shared(tuple), "more than 5,000,000 values"),
    "shared dicts": (shared(lambda pair: dict(enumerate(pair))), "more than 5,000,000 values"),
    "into itself": (into_itself(), "into itself"),
    "huge integer": (1 << 2000, "an integer of 2001 bits"),
    "meta tensor": (torch.empty(3, device="meta"), "on the meta device"),
    "sparse tensor": (torch.eye(3).to_sparse(), "sparse"),
    "compressed rows": (torch.eye(3).to_sparse_csr(), "sparse"),
    "8-bit floats": (torch.ones(3).to(torch.float8_e4m3fn), "float8_e4m3fn"),
    "quantised": (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8), "quint8"),
    "repeated memory": (torch.ones(1).expand(1 << 40), "claims 1,099,511,627,776 values and holds 1"),
    "empty memory": (Call(torch.FloatTensor, 1 << 30), "claim more bytes than the file has"),
    "far too much memory": (Call(torch.FloatTensor, 1 << 45), "x.pth"),
    "namespace of all that": (argparse.Namespace(a=shared(list)), "more than 5,000,000 values"),
    "bytes": (Call(bytearray, 1 << 40), "holds a bytearray"),
}


def read(path):
    """Read in a process of its own: a crash or a hang is not ours."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_read, args=(str(path), sender))
    process.start()
    sender.close()
    try:
        assert receiver.poll(20), "it hangs"
        return receiver.recv()
    except EOFError:
        pytest.fail("it crashes")
    finally:
        process.kill()
        process.join()


def _read(path, sender):
    used = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used + (12 << 30), used + (12 << 30)))
    try:
        sender.send(f"read {read_checkpoint(path)}")
    except UserError as error:
        sender.send(f"refused: {error}")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("case", SAVED)
def test_what_no_training_writes_is_refused(case, zipped, tmp_path):
    value, says = SAVED[case]
    torch.save({"state_dict": {"w": torch.ones(2)}, "x": value}, tmp_path / "x.pth",
               _use_new_zipfile_serialization=zipped)
    if case == "8-bit floats" and not zipped:
        says = "damaged"  # torch itself has lost the type
    with pytest.raises(UserError) as error:
        read_checkpoint(tmp_path / "x.pth")
    message = str(error.value)
    assert says in message and str(tmp_path / "x.pth") in message and "\n" not in message and len(message) < 500


@pytest.mark.parametrize("case", ["forged array", "shared lists", "empty memory"])
def test_a_reader_survives(case, tmp_path):
    value, says = SAVED[case]
    torch.save({"state_dict": {"w": torch.ones(2)}, "x": value}, tmp_path / "x.pth")
    assert says in read(tmp_path / "x.pth")


@pytest.mark.parametrize("write", ["zip", "legacy", "pickle", "torchscript"])
def test_the_hash_of_a_tuple_of_tuples_takes_no_time(write, tmp_path):
    path = tmp_path / "x.pth"
    if write == "zip":
        archive(path, KEYED)
    elif write == "torchscript":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a/constants.pkl", raw(b")"))
            file.writestr("a/data.pkl", KEYED)
    elif write == "legacy":
        torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
        whole = path.read_bytes()
        third = whole.index(b".", whole.index(b"little_endian"))  # end of the part on the machine
        path.write_bytes(whole[: third + 1] + KEYED + raw(b"]"))
    else:
        path.write_bytes(KEYED)
    assert "more than 5,000,000 values" in read(path)


@pytest.mark.parametrize(
    ("body", "says"),
    [(deep_pickle(), "nested more than 100 levels"), (put_slot(0xFFFFFFF0), ""),
     (raw(b"}(c__main__\nX\nq\x00u"), "__main__.X"), (raw(b"}" + b"(" * 1000), "damaged"), (raw(b"h\x05"), "damaged"),
     (raw(b"}K\x01cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85Rs"), "bytearray")],
)  # fmt: skip
def test_pickles_written_by_hand(body, says, tmp_path):
    for name, write in {"x.pth": archive, "y.pth": lambda path, body: path.write_bytes(body)}.items():
        write(tmp_path / name, body)
        line = read(tmp_path / name)
        assert says in line and "\n" not in line


def test_a_bomb_in_an_archive_is_not_unpacked(tmp_path):
    archive(tmp_path / "x.pth", raw(b"}" + b"N0" * (33 << 20)), compression=zipfile.ZIP_DEFLATED)
    assert os.path.getsize(tmp_path / "x.pth") < 1 << 20
    assert "unpacks from" in read(tmp_path / "x.pth")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.pth"))
        for path, says in ((tmp_path / "pipe.pth", "named pipe"), ("/dev/zero", "device"),
                           (tmp_path / "socket.pth", "socket"), (tmp_path, "folder")):
            line = read(path)
            assert line.startswith("refused:") and f"is a {says}" in line
    (tmp_path / "link.pth").symlink_to("/dev/zero")
    assert "is a device" in read(tmp_path / "link.pth")


def test_metadata_of_safetensors(tmp_path):
    for number, text in enumerate(["[" * 100_000, "[" * 500 + "]" * 500, '{"a": ' * 99_999, '{"a": %s}' % ("9" * 5000),
                                   '{"label": "\\ud800"}']):
        save_file({"w": torch.ones(2)}, tmp_path / f"{number}.safetensors", {"mimtransfer": text})
        with pytest.raises(UserError, match="damaged") as error:
            read_checkpoint(tmp_path / f"{number}.safetensors")
        assert "\n" not in str(error.value)
    save_file({"w": torch.ones(3).to(torch.float8_e5m2)}, tmp_path / "fp8.safetensors")
    with pytest.raises(UserError, match="'w' is a tensor of float8_e5m2"):
        read_checkpoint(tmp_path / "fp8.safetensors")


@pytest.mark.parametrize("meta", [[], "text", 3, {1, 2}])
def test_meta_of_another_type(meta, tmp_path):
    torch.save({"state_dict": {"w": torch.ones(2)}, "meta": meta}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=f"its meta is a {type(meta).__name__}, expected a dict"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("state", "says"),
    [([torch.ones(1)], "its state_dict is a list"), (None, "its state_dict is a NoneType"),
     ({0: torch.ones(1)}, "under '0' (int)"), ({"w": [1.0]}, "holds list under 'w'"),
     ({"w": None}, "holds NoneType under 'w'"), ({("a", 1): torch.ones(1)}, "(tuple)")],
)  # fmt: skip
def test_state_dicts_of_another_type(state, says, tmp_path):
    torch.save({"state_dict": state}, tmp_path / "x.pth")
    with pytest.raises(UserError) as error:
        state_dict_of(read_checkpoint(tmp_path / "x.pth"), tmp_path / "x.pth")
    assert says in str(error.value)
    with pytest.raises(UserError):  # mmengine's own way to a checkpoint
        load_from_local(str(tmp_path / "x.pth"))


def test_mmengine_reads_through_the_same_gate_and_runs_no_config(tmp_path):
    from mmengine.runner.checkpoint import CheckpointLoader

    allow_mmengine_checkpoints()
    path = str(tmp_path / "x.pth")
    meta = {"config": "open('witness', 'w')", "epoch": 1}
    torch.save({"state_dict": {"module.w": torch.ones(2)}, "meta": meta}, path)
    assert CheckpointLoader.load_checkpoint(path)["meta"] == {"epoch": 1}
    torch.save({"state_dict": {}, "x": Call(np.ndarray, (2,), "O", b"A" * 16)}, path)
    with pytest.raises(UserError, match=r"numpy\.ndarray"):
        CheckpointLoader.load_checkpoint(path)


def test_what_trainings_write_passes(tmp_path):
    table = OrderedDict((f"blocks.{i}.weight", torch.randn(4, 4)) for i in range(300))
    pair = (0.9, 0.95)
    written = {
        "state_dict": table,
        "expanded": torch.ones(1).expand(8),
        "optimizer": {"state": {i: {"step": torch.tensor(1.0), "betas": pair} for i in range(300)}},
        "random": {"state": (1 << 127) + 1, "keys": {("a", 1): 2}, "set": {1, 2}},
        "arrays": (np.arange(3), [np.float32(1.5)], argparse.Namespace(x=np.ones(2), y={"z": np.zeros(0)})),
        "dtype": np.dtype("f4"),
        "big-endian": np.arange(3, dtype=">i4"),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "complex": torch.ones(2, dtype=torch.complex64),
        "shared": table["blocks.0.weight"],
    }
    for zipped in (True, False):
        torch.save(written, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        read_back = read_checkpoint(tmp_path / "x.pth")
        assert all(torch.equal(read_back["state_dict"][name], value) for name, value in table.items())
        assert read_back["optimizer"] == written["optimizer"] and read_back["random"] == written["random"]
        first, (number,), space = read_back["arrays"]
        assert type(first) is np.ndarray and first.tolist() == [0, 1, 2] and first.flags.writeable
        assert type(number) is np.float32 and space.x.tolist() == [1, 1] and space.y["z"].shape == (0,)
        assert read_back["dtype"] == np.dtype("f4") and read_back["big-endian"].tolist() == [0, 1, 2]
        assert read_back["fortran"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert read_back["state_dict"]["blocks.0.weight"].data_ptr() == read_back["shared"].data_ptr()
    pickled = pickle.dumps({"model": {"w": np.ones(2)}, "names": [("a", "b")] * 100}, protocol=4)
    (tmp_path / "x.pkl").write_bytes(pickled)
    assert read_checkpoint(tmp_path / "x.pkl")["model"]["w"].tolist() == [1, 1]
