"""A resolved config is read again when what it is made of changes."""
import shutil
from pathlib import Path

from mimtransfer.suites import resolved
from mimtransfer.suites.stat_cache import StatCache


def test_a_changed_recipe_is_read_again(tmp_path, monkeypatch):
    recipes = Path(shutil.copytree(resolved._RECIPES, tmp_path / "recipes"))
    monkeypatch.setattr(resolved, "_RECIPES", recipes)
    leaf = tmp_path / "leaf.py"
    leaf.write_text("length = 3\n")
    cache = StatCache(tmp_path / "cache.json")
    reads = []
    read = resolved._read
    monkeypatch.setattr(resolved, "_read", lambda *args: reads.append(1) or read(*args))
    assert [resolved.resolve(str(leaf), {}, cache)["length"] for _ in range(2)] == [3, 3] and len(reads) == 1
    (recipes / "schedules.py").write_text("# another recipe\n")
    assert resolved.resolve(str(leaf), {}, cache)["length"] == 3 and len(reads) == 2
