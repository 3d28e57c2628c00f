"""Whole files: their digest, writing one in a single step, permissions, and room for one that is mapped into memory."""
import hashlib
import os
import shutil
import threading
from pathlib import Path


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of the content of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: str | Path, data: str | bytes) -> None:
    """Write a file in a single step: a reader sees the old content or the new, never a part of it.

    Args:
        path: the folder of it must exist; the file gets the permissions that the umask gives.
        data: text is written as UTF-8, with the line ends that it has.
    """
    path = Path(path)
    content = data.encode("utf-8") if isinstance(data, str) else data
    # In the same folder: os.replace is atomic within one file system only.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a crash of the machine must not leave an empty file behind the new name
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def open_to_readers(path: str | Path) -> None:
    """Give a file the permissions that the umask gives; safetensors lets nobody but its owner read it."""
    path = Path(path)
    model = path.with_name(f".{path.name}.{os.getpid()}.permissions")
    model.touch()
    shutil.copymode(model, path)
    model.unlink()


def reserve_space(path: str | Path) -> None:
    """Take the disk space of a file that was made by its size alone.

    Without it, writing through a memory map to a full disk ends the process by SIGBUS, without a word.

    Raises:
        OSError: there is no room.
    """
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
