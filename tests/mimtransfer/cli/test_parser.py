"""Typos in options: one line with near ones; all other mistakes as argparse tells them."""
import argparse
import sys

import pytest

from mimtransfer.cli import command
from mimtransfer.cli.parser import Parser


@pytest.fixture
def parser():
    parser = Parser(prog="mimtransfer train")
    parser.add_argument("config")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pretrained")
    parser.add_argument("--local_rank", "--local-rank", help=argparse.SUPPRESS)
    return parser


@pytest.mark.parametrize(("words", "line"), [
    (["a", "--quik"], "error: mimtransfer train has no option '--quik'; did you mean '--quick'?"),
    (["a", "--pretrain-from=b.pth"], "error: mimtransfer train has no option '--pretrain-from'; did you mean "
                                     "'--pretrained'?"),
    (["a", "--zzz", "7"], "error: mimtransfer train has no option '--zzz'; mimtransfer train --help lists all"),
    (["a", "--local-rang"], "error: mimtransfer train has no option '--local-rang'; mimtransfer train --help lists "
                            "all"),
])
def test_an_unknown_option(parser, capsys, words, line):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    assert ended.value.code == 2 and capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize(("words", "end"), [
    ([], "mimtransfer train: error: the following arguments are required: config\n"),
    (["a", "b"], "mimtransfer train: error: unrecognized arguments: b\n"),
])
def test_other_mistakes_show_the_usage(parser, capsys, words, end):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.startswith("usage: mimtransfer train") and told.endswith(end)


@pytest.mark.parametrize(("tool", "words"), [
    ("pretrain", ["a"]), ("train", ["a"]), ("test", ["a"]), ("predict", ["a", "b", "c"]), ("table", ["a"]),
    ("export", ["a", "b", "--to", "timm"]),
])
def test_tools_answer_typos(tool, words, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "argv", ["mimtransfer"])
    with pytest.raises(SystemExit):
        command.run_tool(tool, command.tools()[tool], [*words, "--hepl"])
    assert capsys.readouterr().err == f"error: mimtransfer {tool} has no option '--hepl'; did you mean '--help'?\n"
