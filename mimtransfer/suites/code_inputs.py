"""Which of our source files a run executes, and a digest of each, blind to comments, docstrings and layout.

A run executes its tool, what that imports, and the classes that its config names, because registries import whole
packages: an edit of one masking strategy does not concern the runs of another. Libraries are not looked into.
"""
import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mimtransfer.results.fingerprint import OBSERVING_HOOKS
from mimtransfer.suites.stat_cache import StatCache

_PACKAGES = ("mimtransfer", "pretrain")
# They describe a run, or refuse it, but have no part in its score.
_NO_PART = ("mimtransfer/results/", "mimtransfer/suites/", "mimtransfer/errors.py", "mimtransfer/cli/explain.py",
            "mimtransfer/checks/data.py", "mimtransfer/checks/annotations.py", "mimtransfer/checks/objects.py",
            "mimtransfer/checks/index_maps.py", "mimtransfer/checks/image_files.py",
            "mimtransfer/checks/class_folders.py", "mimtransfer/checkpoints/recorded_config.py", "pretrain/pictures.py")


def code_inputs(root: Path, tool: str, config: Mapping, cache: StatCache) -> dict[str, str]:
    """Return the digests of the source files that decide a result.

    Args:
        root: of the checkout, where the packages and `tools` lie.
        tool: name of the tool, `train` for tools/train.py.
        config: the run's resolved config.

    Returns:
        path relative to the root -> sha256, 16 digits.
    """
    files = {}
    for package in _PACKAGES:
        for path in sorted(Path(root, package).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if not name.startswith(_NO_PART):
                files[name] = _look(path, cache)
    # Modules of a user's own, next to ours or anywhere else below the root.
    imported = [module.replace(".", "/") for module in (config.get("custom_imports") or {}).get("imports") or ()]
    roots = [f"tools/{tool}.py"]
    for name in imported:
        roots += [path for path in (f"{name}.py", f"{name}/__init__.py") if Path(root, path).is_file()]
    for name in roots:
        files.setdefault(name, _look(Path(root, name), cache))
    registered: dict[str, set[str]] = {}
    for name, found in files.items():
        for title in set(found["registers"]) - OBSERVING_HOOKS:
            registered.setdefault(title, set()).add(name)
    todo = roots + [name for text in _texts(config) for name in registered.get(text.rpartition(".")[2], ())]
    used: dict[str, str] = {}
    while todo:
        name = todo.pop()
        if name in used or name not in files:
            continue
        used[name] = files[name]["digest"]
        todo += files[name]["imports"]
        todo += [other for text in files[name]["texts"] for other in registered.get(text, ())]
    return dict(sorted(used.items()))


def _look(path: Path, cache: StatCache) -> dict[str, Any]:
    return cache.get(f"code {path}", lambda: (_read(path), [path]))


def _read(path: Path) -> dict[str, Any]:
    """Return what a source file is, imports, registers, and names in one word."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports, registers, texts = [], [], set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            body[:] = body[1:] or [ast.Pass()]
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            imports += [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            texts.add(node.value)
        registers += _registered(node)
    return {
        "digest": hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16],
        "imports": sorted(_files(imports)),
        "registers": sorted(set(registers)),
        "texts": sorted(texts),
    }


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _registered(node: ast.AST) -> Iterator[str]:
    """Yield the names under which `@X.register_module()` and `X.register_module(module=Y)` put things."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef) and any(map(_is_registration, node.decorator_list)):
        yield node.name
    if _is_registration(node):
        for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
            for part in ast.walk(value):
                if isinstance(part, ast.Name):
                    yield part.id
                elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def _is_registration(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("register_module", "_register_module")
    )


def _files(modules: Iterable[str]) -> set[str]:
    names = {module.replace(".", "/") for module in modules if module.split(".")[0] in _PACKAGES}
    return {f"{name}{end}" for name in names for end in (".py", "/__init__.py")}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
