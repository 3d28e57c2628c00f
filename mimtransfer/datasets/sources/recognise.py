"""What a path means as a source of images."""
import os
from collections.abc import Sequence

from mimtransfer.datasets.sources.base import EXTENSIONS, Source
from mimtransfer.datasets.sources.files import FileSource
from mimtransfer.datasets.sources.locate import KINDS, files_of
from mimtransfer.datasets.tree import printable, walk
from mimtransfer.datasets.unreadable import UnreadableImage, read_regular
from mimtransfer.errors import UserError


def open_source(
    source: str, with_classes: bool = False, split: str = "train", extensions: Sequence[str] = EXTENSIONS
) -> Source:
    """Open a source of images.

    Args:
        source: a folder of images at any depth; a file or a folder of tar shards or parquet files, also as a pattern
            (`shards/train-*.tar`) or with braces (`train-{000..146}.tar`); a zip file; what `datasets` saved to disk; a
            text file of paths; or any of these files by a URL that fsspec reads, which is fetched into a cache once.
        with_classes: read class numbers, too.
        split: of a saved `DatasetDict`.
        extensions: endings of image files in folders, tar shards and zip files.

    Raises:
        UserError: nothing is there, it is of another kind, or what it holds is refused.
    """
    files = files_of(os.path.expanduser(source))
    if os.path.isdir(files[0]):
        if len(files) > 1:
            raise UserError(f"source {source!r} names {len(files)} folders, expected one")
        names = [name for name in sorted(os.listdir(files[0])) if not name.startswith(".")]
        if "dataset_dict.json" in names or {"state.json", "dataset_info.json"} <= set(names):
            from mimtransfer.datasets.sources.arrow import ArrowSource

            return ArrowSource.of_folder(files[0], split, with_classes)
        shards = [name for name in names if name.lower().endswith((".tar", ".parquet"))]
        if not shards:
            return FileSource.of_folder(files[0], extensions, with_classes)
        endings = tuple(ending.encode() for ending in extensions)
        if images := [path for path in walk(files[0]).files if path.lower().endswith(endings)]:
            ending = os.path.splitext(shards[0])[1]
            raise UserError(f"source {printable(source)} holds shards ({printable(shards[0])}) and images "
                            f"({printable(images[0])}): name the shards by a pattern ({printable(source)}/*{ending}), "
                            "or move them elsewhere")
        files = [os.path.join(files[0], name) for name in shards]
    kinds = sorted({os.path.splitext(path)[1].lower() for path in files})
    if len(kinds) > 1:
        raise UserError(f"source {source!r} holds files of several kinds ({', '.join(kinds)}), expected one: name them "
                        "by a pattern")
    kind = kinds[0]
    if kind == ".tar":
        from mimtransfer.datasets.sources.archives import TarSource

        return TarSource(files, with_classes, extensions)
    if kind == ".parquet":
        from mimtransfer.datasets.sources.arrow import ArrowSource

        return ArrowSource.of_parquet(files, with_classes)
    if len(files) > 1:
        raise UserError(f"source {source!r} names {len(files)} files, expected one, or tar shards or parquet files")
    if kind == ".zip":
        from mimtransfer.datasets.sources.archives import ZipSource

        return ZipSource(files[0], with_classes, extensions)
    if kind in EXTENSIONS or _is_binary(files[0]):
        raise UserError(f"source {printable(files[0])} is of no kind that is read; expected {KINDS}")
    return FileSource.of_list(files[0], with_classes)


def _is_binary(path: str) -> bool:
    try:
        return b"\0" in read_regular(path)[:4096]
    except UnreadableImage as error:
        raise UserError(f"source {printable(path)} cannot be read: {error}") from error
