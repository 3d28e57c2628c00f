"""mmengine's Runner for a test: the work dir is that of a training, whose config stays."""
import os.path as osp

from mmengine.dist import master_only
from mmengine.runner import Runner


class TestRunner(Runner):
    """Writes its config into the dated folder of its log; mmengine would write it over the one in the work dir."""

    __test__ = False  # pytest collects classes of this name

    @master_only
    def dump_config(self) -> None:
        """Write the config."""
        self.cfg.dump(osp.join(self.log_dir, osp.basename(self.cfg.filename or "config.py")))
