"""README, CONTRIBUTING and docs: every link and anchor leads somewhere, every command that is shown can be given."""
import argparse
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from doc_blocks import ROOT, lines
from own_tool import load_tool

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "configs/README.md"])
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A path with a placeholder in capitals or braces, or with a pattern, stands for others.
PATH = re.compile(
    r"(?<![\w/.-])((?:configs|tools|mimtransfer|pretrain|tests)/[\w/.-]*[\w-]\.(?:py|sh|md|json))(?![\w/*{])")
COMMAND = re.compile(r"(?:^|[ /])tools/(\w+)\.py((?: .*)?)$"
                     r"|(?:^|[ /])(?:tools/launch/(?:torchrun|slurm)\.sh|mimtransfer(?: launch)?)"
                     r" (?!import )([a-z][\w-]*)(.*)$")
ALIASES = {"convert": "convert_checkpoint"}
OWN = {"own.py", "my_config.py"}


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchors(path):
    """Return the anchors of a page, as GitHub and the site name them."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads]
    return {re.sub(r"[^\w\- ]", "", head).strip().replace(" ", "-") for head in plain}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    path, wrong = ROOT / name, []
    for target in LINK.findall(without_code(path.read_text())):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = path if not file else path.parent / file
        if not there.exists():
            wrong.append(f"{target}: no such file")
        elif anchor and anchor not in anchors(there):
            wrong.append(f"{target}: no such heading")
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name):
    named = set(PATH.findall((ROOT / name).read_text())) if name != "CHANGELOG.md" else set()  # history
    assert not [path for path in sorted(named) if not (ROOT / path).exists() and Path(path).name not in OWN]


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_table_have_as_many_cells(name):
    """A cell that was to be filled in later is none."""
    text = re.sub(r"```.*?```|\\\||`[^`\n]*`", "", (ROOT / name).read_text(), flags=re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.rstrip().count("|") for line in table.splitlines()}) == 1, table


def tools_named(path):
    """Yield (tool, words behind it) of each command in the blocks for a shell and in the text of a page."""
    rest = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    inline = re.findall(r"`((?:python )?tools/[^`]*|mimtransfer [a-z][^`|]*)`", rest)
    for line in [*lines(path, "bash", "sh", "console", ""), *inline]:
        line = re.split(r" +(?:#|\|| && |> )", f"{line} ")[0].strip()
        if found := COMMAND.search(line):
            name = (found.group(1) or found.group(3)).replace("-", "_")
            if name not in ("configs", "where", "completion"):  # of the console command alone
                yield ALIASES.get(name, name), found.group(2) or found.group(4) or ""


def options(tool):
    """Return the options of a tool, as its own parser knows them."""
    parsers = []

    def take(self, *args, **kwargs):
        parsers.append(self)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", take)
        patch.setattr(argparse.ArgumentParser, "parse_known_args", take)
        patch.setattr(sys, "argv", [tool])
        module = load_tool(tool)
        with pytest.raises(SystemExit):
            getattr(module, "parse_args", module.main)()
    return set(parsers[0]._option_string_actions)


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_commands_can_be_given(name, known):
    wrong = []
    for tool, words in tools_named(ROOT / name):
        if not (ROOT / f"tools/{tool}.py").exists():
            wrong.append(f"tools/{tool}.py: no such tool")
            continue
        if tool not in known:
            known[tool] = options(tool)
        try:
            given = shlex.split(words, comments=True)
        except ValueError:  # a word of the text has an apostrophe
            given = words.split()
        given = [word.strip("[].,;()").partition("=")[0] for word in given]
        if tool == "transfer" and "--table" in given:
            given = given[: given.index("--table") + 1]  # the rest goes to tools/table.py
        wrong += [f"tools/{tool}.py {word}" for word in given if re.match(r"--[a-z]", word) and word not in known[tool]]
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_make_knows_its_targets(name):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / name).read_text()
    said = re.findall(r"^make ([a-z][a-z-]*)|`make ([a-z][a-z-]*)", text, re.MULTILINE)
    assert {first or second for first, second in said} <= targets


@pytest.fixture(scope="module")
def site():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_in(entries):
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from pages_in(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_navigation_once():
    class Loader(yaml.SafeLoader):
        """mkdocs.yml names a Python function."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    config = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)
    pages = list(pages_in(config["nav"]))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(pages) == sorted(name for name in there if not name.startswith("results/records/"))


def test_the_reference_is_made_of_docstrings(site):
    """Every name in the page is documented; arguments become a list, overloads are passed over."""
    page = ROOT / "docs/reference.md"
    made = site.on_page_markdown(page.read_text(), page=SimpleNamespace(file=SimpleNamespace(abs_src_path=str(page))))
    names = re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    assert len(names) > 20 and ":::" not in made and all(f"### {name.rpartition('.')[2]}" in made for name in names)
    assert "`from mimtransfer import load_backbone`" in made
    assert "- `format`: `md`, `csv`, `latex` or `json` for text" in made and "**Raises**" in made
    assert "- `amp, compile`: bfloat16" in made and "  The backbone in evaluation mode on the CPU: images" in made
    with pytest.raises(LookupError, match="no such documented class or function"):
        site.documentation("mimtransfer.errors.UserEror")


def test_links_that_only_a_checkout_has_are_text_on_the_site(site):
    page = SimpleNamespace(file=SimpleNamespace(abs_src_path=str(ROOT / "docs/results/study.md")))
    text = "[kept](../mfm.md#x) [out](../../README.md) [folder](records/real) [web](https://a.b) [lost](nowhere.md)"
    assert site.on_page_markdown(text, page=page) == (
        "[kept](../mfm.md#x) out folder [web](https://a.b) [lost](nowhere.md)")


def test_the_site_is_built_and_its_links_lead_somewhere(tmp_path):
    """What `make docs` runs: a page that is in no menu, or a link or anchor to nothing, is an error there."""
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "own-data/index.html").read_text()
    assert "mimtransfer" in text and "https://fonts" not in text
