"""Parquet and Arrow files that are cut or hold something else: one line that names the file, or the cell."""
import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from mimtransfer.datasets.sources.recognise import open_source
from mimtransfer.datasets.unreadable import UnreadableImage
from mimtransfer.errors import UserError


def picture(seed):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = [picture(number) for number in range(8)]


@pytest.fixture(scope="module", autouse=True)
def tables(tmp_path_factory):
    """A folder with a parquet file and a saved data set of eight images."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets

    root = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "cache")
        datasets.disable_progress_bars()
        table = datasets.Dataset.from_dict({"image": [{"bytes": content, "path": None} for content in PICTURES]},
                                           datasets.Features(image=datasets.Image()))
        table.to_parquet(root / "whole.parquet")
        table.save_to_disk(str(root / "saved"))
        yield root


def write(folder, values, kind=None, name="image"):
    """Write a parquet file with one column, and open it."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({name: pyarrow.array(values, kind)}), folder / "a.parquet")
    return open_source(str(folder / "a.parquet"))


CUTS = {
    "half": lambda content: content[: len(content) // 2],
    "in the last bytes": lambda content: content[:-200],
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_parquet_file_that_is_damaged(cut, tables, tmp_path, capfd):
    content = (tables / "whole.parquet").read_bytes()
    (tmp_path / "1.parquet").write_bytes(content)
    (tmp_path / "2.parquet").write_bytes(CUTS[cut](content))
    with pytest.raises(UserError, match=r"parquet file .*2\.parquet cannot be read: ") as error:
        open_source(str(tmp_path))
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""  # `datasets` logs the same once more


@pytest.mark.parametrize("cut", [*CUTS, "without its end"])
def test_an_arrow_file_that_is_damaged(cut, tables, tmp_path):
    shutil.copytree(tables / "saved", tmp_path / "saved")
    path = tmp_path / "saved/data-00000-of-00001.arrow"
    path.write_bytes(CUTS.get(cut, lambda content: content[:-8])(path.read_bytes()))
    with pytest.raises(UserError, match=r"data set .*saved cannot be read: ") as error:
        open_source(str(tmp_path / "saved"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("begin", range(0, 4800, 400))
def test_a_hole_in_an_arrow_file(begin, tables, tmp_path):
    """It is refused, or its images are wrong or unreadable: places of cells in it that lead nowhere ended the process.
    """
    shutil.copytree(tables / "saved", tmp_path / "saved")
    path = tmp_path / "saved/data-00000-of-00001.arrow"
    content = path.read_bytes()
    path.write_bytes(content[:begin] + b"\x5a" * 400 + content[begin + 400 :])
    found = []
    try:
        source = open_source(str(tmp_path / "saved"))
        for number in range(len(source)):
            try:
                found.append(source.read(number))
            except UnreadableImage as error:
                found.append(error)
    except UserError as error:
        assert "\n" not in str(error)
    assert found != PICTURES


def test_a_part_of_a_data_set_is_gone(tables, tmp_path):
    shutil.copytree(tables / "saved", tmp_path / "saved")
    (tmp_path / "saved/data-00000-of-00001.arrow").unlink()
    with pytest.raises(UserError, match=r"data set .*saved cannot be read: .*No such file"):
        open_source(str(tmp_path / "saved"))


@pytest.mark.parametrize("values", [[1, 2], [1.5, 2.0], [[1, 2], [3]], [{"a": 1}], [{"bytes": 1, "path": "a"}], [True]],
                         ids=str)
def test_a_column_of_something_else(values, tmp_path):
    with pytest.raises(UserError, match=r"a\.parquet: column 'image' holds .*, expected image files or their paths"):
        write(tmp_path, values)


def test_no_rows(tmp_path):
    import pyarrow

    with pytest.raises(UserError, match=r"a\.parquet: no image in it"):
        write(tmp_path, [], pyarrow.binary())


def test_cells_without_an_image(tmp_path):
    import pyarrow

    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    cells = [None, {"bytes": None, "path": None}, {"bytes": None, "path": ""}, {"bytes": None, "path": "gone.png"},
             {"bytes": PICTURES[0], "path": "gone.png"}]
    source = write(tmp_path, cells, image)
    for number, words in enumerate(["empty", "empty", "empty", "No such file"]):
        with pytest.raises(UnreadableImage, match=words):
            source.read(number)
    assert source.read(4) == PICTURES[0]


def test_a_cell_is_named_by_its_own_file(tmp_path):
    """The number of the whole set beside the first file said nothing."""
    import pyarrow
    import pyarrow.parquet

    for number, count in enumerate((3, 0, 2)):
        pyarrow.parquet.write_table(pyarrow.table({"image": pyarrow.array(PICTURES[:count], pyarrow.binary())}),
                                    tmp_path / f"{number}.parquet")
    source = open_source(str(tmp_path))
    names = [source.name(number).rpartition("/")[2] for number in range(len(source))]
    assert names == ["0.parquet[0]", "0.parquet[1]", "0.parquet[2]", "2.parquet[0]", "2.parquet[1]"]


@pytest.mark.parametrize("text", ["a dog on a lawn", "two\nlines", "null\0byte", "x" * 5000, ""])
def test_text_in_place_of_paths(text, tmp_path):
    source = write(tmp_path, [text, "a.png"])
    with pytest.raises(UnreadableImage):
        source.read(0)
