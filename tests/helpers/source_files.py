"""The same image files as every kind of source, in one order."""
import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

SOURCES = {
    "folder": "folder", "list": "list.txt", "tar": "shard-*.tar", "zip": "all.zip", "parquet": "rows.parquet",
    "paths": "paths.parquet", "hf": "saved", "hf_paths": "saved_paths",
}


def write_sources(root: Path, files: Mapping[str, bytes], kinds=SOURCES) -> dict[str, str]:
    """Write sources, and return their paths.

    Args:
        files: name -> content, sorted by name; without folders.
        kinds: some of `SOURCES`.
    """
    root.mkdir(parents=True, exist_ok=True)
    if {"folder", "list", "paths"} & set(kinds):
        (root / "folder").mkdir()
        for name, content in files.items():
            (root / "folder" / name).write_bytes(content)
    if "list" in kinds:
        (root / "list.txt").write_text("".join(f"folder/{name}\n" for name in files))
    names = list(files)
    for shard in range(2) if "tar" in kinds else ():
        with tarfile.open(root / f"shard-{shard}.tar", "w") as tar:
            for name in names[: len(names) // 2] if shard == 0 else names[len(names) // 2 :]:
                info = tarfile.TarInfo(name)
                info.size = len(files[name])
                tar.addfile(info, io.BytesIO(files[name]))
    if "zip" in kinds:
        with zipfile.ZipFile(root / "all.zip", "w") as file:
            for name, content in files.items():
                file.writestr(name, content)
    if {"parquet", "paths", "hf", "hf_paths"} & set(kinds):
        _write_tables(root, files, kinds)
    return {kind: str(root / SOURCES[kind]) for kind in kinds}


def _write_tables(root, files, kinds):
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    import pyarrow
    import pyarrow.parquet

    datasets.disable_progress_bars()
    images = [{"bytes": content, "path": name} for name, content in files.items()]
    if "parquet" in kinds:
        kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        table = pyarrow.table({"image": pyarrow.array(images, kind)})
        pyarrow.parquet.write_table(table, root / "rows.parquet", row_group_size=7)
    if "paths" in kinds:
        pyarrow.parquet.write_table(pyarrow.table({"image": [f"folder/{name}" for name in files]}),
                                    root / "paths.parquet")
    if "hf" in kinds:
        table = datasets.Dataset.from_dict({"image": images}, datasets.Features(image=datasets.Image()))
        table.save_to_disk(str(root / "saved"), num_shards=2)
    if "hf_paths" in kinds:  # as a column of text, which stays as it is; the images lie in the folder of the data set
        table = datasets.Dataset.from_dict({"image": list(files)})
        table.save_to_disk(str(root / "saved_paths"))
        for name, content in files.items():
            (root / "saved_paths" / name).write_bytes(content)
