"""The walls of the house: imports point one way, rooms stay small, no module is a mere signpost.

`ROOMS` is the order of docs/architecture.md: a room may import the rooms before it. A new room goes into this list.
"""
import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "mimtransfer": ["errors", "files", "stored", "interruption", "draws", "registry", "shipped", "openmmlab",
                    "checkpoints", "backbones", "datasets", "training", "results", "evaluation", "planning", "cli",
                    "export", "checks", "own_data", "suites", "benchmarks", "api"],
    "pretrain": ["aug_record", "layout", "patches", "data", "masking", "corruptions", "tokenizers", "methods",
                 "pictures", "hooks", "from_checkpoint", "runner", "planning",
                 "benchmarks"],
}
MODULES = sorted(path.relative_to(ROOT) for package in ROOMS for path in (ROOT / package).rglob("*.py"))


def imported(path):
    """Yield the modules of ours that a file imports, also inside functions."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_of(package, parts):
    name = parts[0].removesuffix(".py") if parts else ""
    return ROOMS[package].index(name) if name in ROOMS[package] else None


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_has_its_place(package):
    inside = (ROOT / package).iterdir()
    there = {path.stem for path in inside if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there - {"__init__"} == set(ROOMS[package])


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_one_way(path):
    package, *inside = path.parts
    if inside == ["__init__.py"]:
        return  # installs the stand-in for mmcv._ext
    own = room_of(package, inside)
    for module in imported(path):
        top, *rest = module.split(".")
        assert top != "tools" and not (package == "mimtransfer" and top == "pretrain"), f"{path} imports {module}"
        if top == package and (other := room_of(package, rest)) is not None:
            assert other <= own, f"{path} imports {module}, which lies further up"


@pytest.mark.parametrize("package", ROOMS)
def test_few_modules_lie_beside_the_rooms(package):
    assert len([path for path in (ROOT / package).glob("*.py") if path.name != "__init__.py"]) <= 6


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_defines_something(path):
    """A module that only imports is a signpost; `__init__.py` may hold a docstring and exports."""
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    if path.name == "__init__.py":
        return
    assert any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign) for node in body)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_file_is_too_long(path):
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= 320


def test_no_module_has_the_name_of_one_of_python():
    """`inspect` lies in a package and is imported by its full name; at the top it would hide Python's."""
    assert not {path.stem for package in ROOMS for path in (ROOT / package).glob("*.py")} & set(sys.stdlib_module_names)
