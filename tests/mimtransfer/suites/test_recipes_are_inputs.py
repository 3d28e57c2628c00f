"""A config that a suite has read is read again when a recipe that it calls changes."""
from pathlib import Path

from mimtransfer.suites.inputs import _read
from mimtransfer.training.recipes import schedules


def test_the_files_of_a_config_name_the_recipes(tmp_path):
    leaf = tmp_path / "leaf.py"
    leaf.write_text("length = 3\n")
    (cfg, files), watched = _read(str(leaf))
    assert cfg.length == 3 and {str(leaf), str(Path(schedules.__file__))} <= set(files) == set(watched)
