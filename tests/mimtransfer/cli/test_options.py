"""Overrides of a config: what is written for the command line is read back."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimtransfer.cli.options import option_texts, read_options

WORDS = st.text("ab_./-,[(]) '\"=19TrueNofals{}\\\n", max_size=12)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.sampled_from(["CIFAR", "a.b", "data/train", "NaN", "True", "none", "1e5", "it's", "a, b"])


@settings(deadline=None)  # mmengine is imported at the first
@given(
    WORDS | NUMBERS | st.booleans() | st.none() | st.lists(NUMBERS | NAMES, min_size=1)
    | st.lists(st.tuples(NUMBERS, NUMBERS))
)
def test_reads_what_was_written(value):
    assert read_options(option_texts({"model.key": value})) == {"model.key": value}


@pytest.mark.parametrize("word", ["NaN", "nan", "inf", "Infinity", "-inf", "1_000", "1e5", "0x10", "true", "None"])
def test_a_text_that_looks_like_a_number_stays_a_text(word):
    for value in (word, [word], (word, 1.5), [[word], "b"]):
        assert read_options(option_texts({"key": value})) == {"key": value}


def test_values_in_quotes_are_not_taken_apart():
    texts = ["protocol='k-NN, 1 %'", 'a="1"', "b=1,2", "c=[x,(1,2)]", "d=k-NN", "e=[cat,'dog']", "f=['a b','c,d']"]
    assert read_options(texts) == dict(
        protocol="k-NN, 1 %", a="1", b=[1, 2], c=["x", (1, 2)], d="k-NN", e=["cat", "dog"], f=["a b", "c,d"]
    )


@pytest.mark.parametrize("text, words", [("lr", "expected KEY=VALUE"), ("a='b' '", "no string in quotes")])
def test_mistakes(text, words):
    with pytest.raises(ValueError, match=words):
        read_options([text])
