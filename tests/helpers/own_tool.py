"""Call a tool of tools/ in the test's own process: most of its time as a process is the import of torch and mmdet."""
import importlib.util
import json
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def load_tool(name: str):
    """Return tools/NAME.py as a module. A tool replaces the first place of `sys.path`, which is put back."""
    spec = importlib.util.spec_from_file_location(f"{name}_tool", TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    before = sys.path[:]
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


def call_tool(name: str, *args) -> int | str:
    """Run a tool's main() with these words; return its exit status, 0 where it just returns."""
    tool, before = load_tool(name), sys.argv
    sys.argv = [name, *map(str, args)]
    try:
        return tool.main() or 0
    except SystemExit as stopped:
        return stopped.code or 0
    finally:
        sys.argv = before
    return 0


def record(work_dir) -> dict:
    """Return the record that a run left in its work dir."""
    return json.loads(Path(work_dir, "result.json").read_text())
