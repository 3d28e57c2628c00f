"""Paths with spaces and commas on the command line stay one text; lists stay lists."""
import pytest

from mimtransfer.cli.options import option_texts, read_options


@pytest.mark.parametrize("name", ["my images", "a,b", "a, b", "run (2), final", "x=1,2"])
def test_a_path_keeps_spaces_and_commas(tmp_path, name):
    path = tmp_path / name
    assert read_options([f"work_dir={path}"]) == {"work_dir": str(path)}  # its folder exists
    path.mkdir()
    assert read_options([f"data_root={path}/"]) == {"data_root": f"{path}/"}


def test_words_with_spaces_stay_one_text():
    assert read_options(["protocol=my own protocol"]) == {"protocol": "my own protocol"}
    assert read_options(["a.ann_file=data/my set/train.json"]) == {"a.ann_file": "data/my set/train.json"}


@pytest.mark.parametrize("text, value", [
    ("1,2", [1, 2]), ("a,b", ["a", "b"]), ("[1,2]", [1, 2]), ("(1, 2)", (1, 2)), ("1, 2", [1, 2]), ("0.5", 0.5),
    ("None", None), ("data/coco", "data/coco"), ("'NaN'", "NaN"), ("NaN", pytest.approx(float("nan"), nan_ok=True)),
])
def test_other_values_are_read_as_before(text, value):
    assert read_options([f"key={text}"]) == {"key": value}


@pytest.mark.parametrize("value", ["a b", "a/b c,d", "nan", "NaN", "inf", "-inf", "1e5", "True", "none", ""])
def test_a_text_comes_back_as_it_was(value):
    assert read_options(option_texts({"key": value})) == {"key": value}
